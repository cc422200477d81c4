"""The files of a project that travel with a job: those that git lists, in a zip that depends on nothing but their contents."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from distil.errors import InputError

MAX_BYTES = 20 * 2**20
_SHOWN = 5
_SECRET = (
    ".env",
    ".env.*",
    ".netrc",
    ".pgpass",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
)
_PRIVATE_KEY = b"PRIVATE KEY-----"
_OUTPUTS = ("store.json", "journal.jsonl", "sweep.jsonl")  # their folder is a store, a run or a sweep
_DATABASES = ("mlflow.db*", "mlartifacts", "mlruns")
_GONE = "deleted"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same in each zip


@dataclass(frozen=True, kw_only=True)
class Package:
    """What travels: the contents of files by their path relative to the folder, and what stays behind, with the reason."""

    files: Mapping[str, bytes]
    executable: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)  # path -> why

    @property
    def num_bytes(self) -> int:
        """The size of all files."""
        return sum(map(len, self.files.values()))

    @property
    def name(self) -> str:
        """The name of the zip on the cluster: files with the same contents have the same."""
        state = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            state.update(f"{len(path.encode())}:{path}:{path in self.executable}:{len(content)}:".encode() + content)
        return f"_ray_pkg_{state.hexdigest()[:32]}.zip"

    def zip(self) -> bytes:
        """Return the zip."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in sorted(self.files.items()):
                entry = zipfile.ZipInfo(path, _DATE)
                entry.external_attr = (0o100755 if path in self.executable else 0o100644) << 16
                archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


def pack(folder: Path) -> Package:
    """Return the package of the files in `folder`.

    With git: the files that it tracks, and untracked ones that it does not ignore. Without: all but hidden ones, caches and
    virtual environments. Stores, runs and MLflow's files travel only if git tracks them; files that look like secrets never do.

    Raises:
        InputError: the files are larger than 20 MiB together; the largest are named.
    """
    tracked, others = _listed(folder)
    left_out = dict.fromkeys(_outputs(others), "a store, a run or MLflow's")
    sizes: dict[str, int] = {}
    for path in sorted({*tracked, *others} - left_out.keys()):
        if (why := _unfit(folder, path)) is not None:
            left_out[path] = why
        else:
            with suppress(FileNotFoundError):
                sizes[path] = (folder / path).stat().st_size
    _require_small(folder, sizes)
    files: dict[str, bytes] = {}
    for path in sizes:
        try:
            content = (folder / path).read_bytes()
        except OSError as error:  # it has vanished, or may not be read
            left_out[path] = f"cannot be read ({error.strerror})"
            continue
        if _PRIVATE_KEY in content[:1000]:
            left_out[path] = "a private key"
        else:
            files[path] = content
    _require_small(folder, {path: len(content) for path, content in files.items()})
    runnable = frozenset(path for path in files if os.access(folder / path, os.X_OK))
    return Package(files=files, executable=runnable, left_out={k: v for k, v in sorted(left_out.items()) if v != _GONE})


def _require_small(folder: Path, sizes: Mapping[str, int]) -> None:
    if sum(sizes.values()) > MAX_BYTES:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:_SHOWN]
        shown = ", ".join(f"{path} ({size_text(sizes[path])})" for path in largest)
        raise InputError(
            f"{folder}: {size_text(sum(sizes.values()))} in {len(sizes)} files would travel with the job; the limit is "
            f"{size_text(MAX_BYTES)}. The largest: {shown}; keep them out with .gitignore, or put them on the shared path"
        )


def _unfit(folder: Path, path: str) -> str | None:
    """Return why a file does not travel; None: it does."""
    if any(fnmatch(part, pattern) for part in PurePosixPath(path).parts for pattern in _SECRET):
        return "looks like a secret; pass it with --env"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    file = folder / path
    if not os.path.lexists(file):
        return _GONE
    if not file.resolve().is_relative_to(folder.resolve()):
        return "a link out of the folder"
    return None if file.is_file() else "a link to a folder" if file.is_dir() else "no file"


def _outputs(paths: Sequence[str]) -> Iterator[str]:
    """Yield the paths that runs wrote: in the folders of stores, runs and sweeps, and MLflow's."""
    written = {str(PurePosixPath(path).parent) for path in paths if PurePosixPath(path).name in _OUTPUTS}
    shared = {str(PurePosixPath(place).parent / name) for place in written for name in ("baselines", "labels")}
    places = (written | shared) - {"."}
    for path in paths:
        parents = {str(parent) for parent in PurePosixPath(path).parents}
        if parents & places or any(fnmatch(PurePosixPath(path).parts[0], pattern) for pattern in _DATABASES):
            yield path


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Return the tracked and the other files of a folder."""
    tracked = _git(folder, "--cached")
    if tracked is None:
        return [], sorted(_walk(folder))
    return tracked, _git(folder, "--others", "--exclude-standard") or []


def has_git(folder: Path) -> bool:
    """Return whether git lists the files of a folder."""
    return _git(folder, "--cached") is not None


def _git(folder: Path, *options: str) -> list[str] | None:
    """Return what `git ls-files` lists, with the files of repositories inside; None without git."""
    try:
        done = subprocess.run(["git", "ls-files", "-z", *options], cwd=folder, capture_output=True, check=False)
    except OSError:
        return None
    if done.returncode:
        return None
    found = []
    for path in map(os.fsdecode, filter(None, done.stdout.split(b"\0"))):
        inner = folder / path
        if (inner / ".git").exists():  # a submodule, or another repository
            within = [*(_git(inner, "--cached") or []), *(_git(inner, "--others", "--exclude-standard") or [])]
            found += [f"{path.rstrip('/')}/{name}" for name in within]
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _walk(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and name != "__pycache__" and not (place / name / "pyvenv.cfg").exists()
        )
        for name in names:
            if name[0] != "." and not name.endswith(".pyc"):
                yield (place / name).relative_to(folder).as_posix()


def size_text(num_bytes: int) -> str:
    """Return a size for people."""
    if num_bytes < 1024:
        return f"{num_bytes} bytes"
    return f"{num_bytes / 1024:.1f} KiB" if num_bytes < 2**20 else f"{num_bytes / 2**20:.1f} MiB"

"""Local copies of remote files: bounded, shared by the processes of a node, least recently used files are removed first."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from distil.durable import discard
from distil.errors import RunError
from distil.store.files import os_fault

ENV = "DISTIL_CACHE"


def cache_folder() -> Path:
    """Return where local copies go: $DISTIL_CACHE, or distil/ in the user's cache folder."""
    chosen = os.environ.get(ENV)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distil"


class FileCache:
    """A folder of immutable files. It takes at most half of the free space, its own included.

    A file that goes while somebody has it mapped stays readable to them.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder; it is made when it is needed."""
        self._folder = folder

    def path(self, name: str, num_bytes: int, digest: str, blocks: Callable[[], Iterable[bytes]], where: str) -> Path:
        """Return the file `name`, made from `blocks()` when it isn't there.

        Args:
            name: of the file; equal names must mean equal contents.
            num_bytes: its size.
            digest: xxh3-128 of its content, hex.
            blocks: what fetches it, called at most once.
            where: it comes from, for messages; RunError, naming it, when the content has another size or digest.
        """
        path = self._folder / name
        try:
            if path.stat().st_size == num_bytes:
                os.utime(path)
                return path
        except FileNotFoundError:
            pass
        except OSError as error:
            raise os_fault(error, path) from None
        self._make(path, num_bytes, digest, blocks, where)
        return path

    def _make(self, path: Path, num_bytes: int, digest: str, blocks: Callable[[], Iterable[bytes]], where: str) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        found, size = xxhash.xxh3_128(), 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(num_bytes)
            with open(temporary, "xb") as file:
                for block in blocks():
                    size += len(block)
                    if size > num_bytes:
                        break
                    found.update(block)
                    file.write(block)
            if (size, found.hexdigest()) != (num_bytes, digest):
                raise RunError(f"{where}: altered or truncated (not what the manifest says); restore it from a copy")
            temporary.rename(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise os_fault(error, path) from None
        finally:
            discard(temporary)

    def _make_room(self, num_bytes: int) -> None:
        files = []
        for path in self._folder.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            files.append((status.st_mtime, status.st_size, path))
        used = sum(size for _, size, _ in files)
        limit = (used + shutil.disk_usage(self._folder).free) // 2
        for _, size, path in sorted(files):
            if used + num_bytes <= limit:
                break
            path.unlink(missing_ok=True)
            used -= size

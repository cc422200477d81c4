"""Where a store lies: a local folder, or a prefix in an object store. The few operations that the rest is built from."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from distil.durable import create_durably, fsync_folder, make_folders, replace_durably
from distil.errors import InputError, RunError
from distil.redaction import redact_address
from distil.store.files import MAX_JSON_BYTES, os_fault, parse_json

SCHEMES = ("s3", "gs", "az", "memory")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)


@dataclass(frozen=True, order=True)
class Url:
    """The address of something in an object store. It joins like a path; `str` gives the text that `Store.open` takes."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.text.rsplit("/", 1)[-1]

    def resolve(self) -> Url:
        """Return itself: it is absolute."""
        return self


Location = Path | Url


def location(text: str | Path | Url) -> Location:
    """Return a folder's path, or a URL of one of `SCHEMES`; InputError for any other scheme."""
    match = _URL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return text if isinstance(text, Url) else Path(text)
    shown = redact_address(match[0])
    if shown != match[0]:
        raise InputError(
            f"{shown}: a password does not belong in an address, it would be written beside the data: set it in the "
            "environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    scheme, rest = match[1], match[2].strip("/")
    if scheme not in SCHEMES:
        raise InputError(f"{text}: no store of kind {scheme}://; use a folder, or one of {', '.join(SCHEMES)}")
    if not rest:
        raise InputError(f"{text}: no bucket in it; write {scheme}://BUCKET/FOLDER")
    return Url(f"{scheme}://{rest}")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a store."""

    key: str  # relative to the store, such as data/a.arrow
    num_bytes: int
    modified_s: float  # Unix time


class InTheWayError(RunError):
    """A folder can't be made, since there is a file of its name."""


class Backend(Protocol):
    """The operations on a store's files. Keys are relative to the store's root, parts joined by a slash.

    Methods raise FileNotFoundError for what isn't there, and a one-line RunError when the disk or the service refuses.
    """

    def get(self, key: str) -> bytes:
        """Return a whole file."""

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return parts of a file; RunError when one lies beyond its end."""

    def size(self, key: str) -> int:
        """Return a file's size in bytes."""

    def put(self, key: str, content: bytes) -> None:
        """Write a small file, whole or not at all, in place of what may be there."""

    def put_if_absent(self, key: str, content: bytes) -> None:
        """Write a small file unless it exists: then FileExistsError. Of several callers, exactly one succeeds."""

    def staging(self) -> Path:
        """Return the local folder in which files that `publish` takes are written."""

    def publish(self, file: Path, key: str) -> None:
        """Make a flushed file of `staging()` appear under a new key, durably, and take it away from there."""

    def list(self, folder: str) -> list[StoredFile]:
        """Return the files directly in a folder, hidden ones included, in no order; none if the folder doesn't exist."""

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""

    def touch(self, key: str) -> str:
        """Make a sealed file look new to the garbage collector; return its key, which may be another one."""

    def withdraw(self, key: str, *, older_than_s: float) -> bool:
        """Delete a file that nothing has touched since the Unix time `older_than_s`; return whether that is done."""

    def local(self, key: str, num_bytes: int, digest: str) -> Path:
        """Return a local file with the content: itself, or a copy in the cache, checked against `digest` when it is made."""


class FolderBackend:
    """A folder of a POSIX file system with hard links."""

    def __init__(self, root: Path) -> None:
        """Take the folder; it needn't exist yet."""
        self._root = root

    def get(self, key: str) -> bytes:
        """Return a whole file."""
        try:
            return (self._root / key).read_bytes()
        except OSError as error:
            raise _fault(error, self._root / key) from None

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return parts of a file."""
        path = self._root / key
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                parts = [os.pread(descriptor, length, start) for start, length in zip(starts, lengths, strict=True)]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _fault(error, path) from None
        check_ranges(parts, lengths, path)
        return parts

    def size(self, key: str) -> int:
        """Return a file's size; RunError for what isn't a plain file."""
        path = self._root / key
        try:
            status = os.lstat(path)
        except OSError as error:
            raise _fault(error, path) from None
        if not stat.S_ISREG(status.st_mode):
            raise RunError(f"{path}: not a plain file; restore it from a copy")
        return status.st_size

    def put(self, key: str, content: bytes) -> None:
        """Write a file through a temporary one."""
        path = self._root / key
        try:
            replace_durably(path, content)
        except OSError as error:
            raise os_fault(error, path) from None

    def put_if_absent(self, key: str, content: bytes) -> None:
        """Write a temporary file and link it to its name."""
        path = self._root / key
        try:
            make_folders(path.parent)
        except (FileExistsError, NotADirectoryError):
            raise InTheWayError(f"{path.parent}: a file is in the way; move it, or choose another folder") from None
        except OSError as error:
            raise os_fault(error, path.parent) from None
        try:
            create_durably(path, content)
        except FileExistsError:
            raise
        except OSError as error:
            raise os_fault(error, path) from None

    def staging(self) -> Path:
        """Return data/ itself: the file only needs another name to be published."""
        folder = self._root / "data"
        try:
            make_folders(folder)
        except OSError as error:
            raise os_fault(error, folder) from None
        return folder

    def publish(self, file: Path, key: str) -> None:
        """Rename."""
        path = self._root / key
        try:
            file.rename(path)
            fsync_folder(path.parent)
        except OSError as error:
            raise os_fault(error, path) from None

    def list(self, folder: str) -> list[StoredFile]:
        """Return what is in a folder."""
        path = self._root / folder
        try:
            with os.scandir(path) as entries:
                return [item for entry in entries if (item := _item(folder, entry)) is not None]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise os_fault(error, path) from None

    def delete(self, key: str) -> None:
        """Remove a file."""
        try:
            (self._root / key).unlink(missing_ok=True)
        except OSError as error:
            raise os_fault(error, self._root / key) from None

    def touch(self, key: str) -> str:
        """Set the file's time to now. Someone else's file that we may read but not touch is left as it is."""
        try:
            os.utime(self._root / key)
        except PermissionError:
            return key
        except OSError as error:
            raise _fault(error, self._root / key) from None
        return key

    def withdraw(self, key: str, *, older_than_s: float) -> bool:
        """Rename, look at the time once more, and delete or rename back: a commit that touched the file in time keeps it."""
        path = self._root / key
        hidden = path.parent / f".{path.name}.trash"
        try:
            path.rename(hidden)
            if hidden.stat().st_mtime >= older_than_s:
                hidden.rename(path)
                return False
            hidden.unlink()
        except FileNotFoundError:
            return False  # another collector has it
        except OSError as error:
            raise os_fault(error, path) from None
        return True

    def local(self, key: str, num_bytes: int, digest: str) -> Path:
        """Return the file itself."""
        return self._root / key


def _fault(error: OSError, path: Path) -> Exception:
    absent = isinstance(error, FileNotFoundError | NotADirectoryError)
    return FileNotFoundError(path) if absent else os_fault(error, path)


def _item(folder: str, entry: os.DirEntry[str]) -> StoredFile | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # gone since the folder was read
    if not stat.S_ISREG(status.st_mode):
        return None
    return StoredFile(key=f"{folder}/{entry.name}", num_bytes=status.st_size, modified_s=status.st_mtime)


def check_ranges(parts: Iterable[bytes], lengths: Sequence[int], where: Location) -> None:
    """Raise RunError unless every part of the file `where` has the length that was asked for."""
    if any(len(part) != length for part, length in zip(parts, lengths, strict=True)):
        raise RunError(f"{where}: shorter than the manifest says; restore it from a copy")


def backend(root: Location) -> Backend:
    """Return the operations on the store at `root`."""
    return FolderBackend(root) if isinstance(root, Path) else _objects(root)


@lru_cache(maxsize=64)
def _objects(root: Url) -> Backend:
    from distil.store.objects import ObjectBackend

    return ObjectBackend(root)


def read_json(root: Location, key: str) -> dict[str, Any]:
    """Return the content of a file that `dump_json` made; FileNotFoundError without one, RunError if it is damaged."""
    files, where = backend(root), root / key
    if files.size(key) > MAX_JSON_BYTES:
        raise RunError(f"{where}: larger than any file of this kind; restore it from a copy")
    return parse_json(files.get(key), where)

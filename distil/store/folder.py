"""Stores in a folder of a POSIX file system."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from distil.durable import create_durably, fsync_folder, make_folders, replace_durably
from distil.errors import RunError
from distil.store.files import os_fault
from distil.store.storage import InTheWayError, StoredFile, check_ranges, check_touched


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

    def touch(self, key: str, num_bytes: int) -> str:
        """Set the file's time to now. A file of another user that may not be changed is left as it is."""
        try:
            check_touched(self.size(key), num_bytes, self._root / key)
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

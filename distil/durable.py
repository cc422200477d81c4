"""Files that survive a kill and a power cut: written to a temporary name, flushed, renamed, and the folder flushed.

All functions raise OSError when the disk fails; the callers name the user's file and the fix.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\.[^/]+\.[0-9a-f]{16}\.tmp")


def replace_durably(path: Path, content: bytes, check: Callable[[], None] = lambda: None) -> None:
    """Replace a file atomically: a reader sees the old content or the new, which is on disk when this returns.

    `check` is called right before the new content appears, and may raise to keep the old one.
    """
    with _temporary(path) as part:
        _write_new(part, content)
        check()
        part.replace(path)
    fsync_folder(path.parent)


def create_durably(path: Path, content: bytes) -> None:
    """Create a file, completely and on disk or not at all; FileExistsError if another writer was first."""
    with _temporary(path) as part:
        _write_new(part, content)
        os.link(part, path)
    fsync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write files into with `replace_durably`; on exit it appears as `path`, complete.

    Raises:
        FileExistsError: `path` exists and is not an empty folder.
    """
    make_folders(path.parent)
    with _temporary(path) as part:
        part.mkdir()
        yield part
        try:
            part.rename(path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            raise
    fsync_folder(path.parent)


def make_folders(path: Path) -> None:
    """Create a folder and its missing parents, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


def fsync_folder(path: Path) -> None:
    """Flush a folder's entries to disk, where the file system supports it and the folder is readable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush folders
            raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`; one call of `os.write` may write only part of it."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def discard(path: Path) -> None:
    """Remove a leftover file or folder, if there is one; refusals (a read-only disk) are ignored."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def discard_temporaries(folder: Path) -> None:
    """Remove the partial files of killed processes from a folder that has no active writers."""
    for path in [path for path in folder.rglob(".*.tmp") if _TEMPORARY.fullmatch(path.name)]:
        discard(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield part
    finally:
        discard(part)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Memory that grows without a copy: files in RAM (private, or named for the processes of a node) that are mapped again."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distil.errors import RunError
from distil.store.files import os_fault
from distil.types import Array

BLOCK = np.dtype([("begin", np.int64), ("end", np.int64)])  # where a compressed row lies in a heap
_ZEROS = 1 << 20  # written at once


class SpaceError(RunError):
    """An area can't be made, or can't grow: where it is shared, private memory may still have room."""


class Area:
    """Bytes in RAM. What was mapped before it grew stays valid, and shows the same bytes."""

    def __init__(self, path: Path | None = None) -> None:
        """Make private memory, or open (or make) the file `path`, which other processes map too."""
        self._path = path
        try:
            self._descriptor = _anonymous() if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refused(error) from None

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return os.fstat(self._descriptor).st_size

    def grow(self, num_bytes: int) -> None:
        """Make it at least this large; SpaceError if there is no space."""
        if num_bytes > self.num_bytes:
            try:
                _allocate(self._descriptor, num_bytes)  # here, not as a bus error later
            except OSError as error:
                raise self._refused(error) from None

    def array(self, dtype: np.dtype[Any], shape: tuple[int, ...], *, writeable: bool = False) -> Array:
        """Return its first bytes as an array."""
        size = dtype.itemsize * int(np.prod(shape, dtype=object))
        if not size:
            return np.empty(shape, dtype)
        access = mmap.ACCESS_WRITE if writeable else mmap.ACCESS_READ
        return np.frombuffer(mmap.mmap(self._descriptor, size, access=access), dtype, count=int(np.prod(shape))).reshape(shape)

    def write(self, data: NDArray[np.uint8], offset: int) -> None:
        """Write bytes, beyond its end too; SpaceError if there is no space."""
        done, view = 0, data.data
        while done < len(view):
            try:
                done += os.pwrite(self._descriptor, view[done:], offset + done)
            except OSError as error:
                raise self._refused(error) from None

    def _refused(self, error: OSError) -> SpaceError:
        return SpaceError(str(os_fault(error, self._path or Path("memory"))))


class Heap:
    """Compressed rows, one after another."""

    def __init__(self, path: Path | None = None, used: int = 0) -> None:
        """Continue after the first `used` bytes of the area at `path` (None: private)."""
        self._area, self.used = Area(path), used

    def append(self, blocks: NDArray[np.uint8]) -> int:
        """Add bytes and return where they begin."""
        begin = self.used
        self._area.write(blocks, begin)
        self.used += len(blocks)
        return begin

    def clear(self) -> None:
        """Forget what was appended; the memory is used again."""
        self.used = 0

    def data(self) -> NDArray[np.uint8]:
        """Return all bytes so far."""
        return self._area.array(np.dtype(np.uint8), (self.used,))


def _allocate(descriptor: int, num_bytes: int) -> None:
    """Take the space for a file's first bytes; OSError if there is none. macOS and some file systems need it written."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, num_bytes)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
    zeros = bytes(_ZEROS)
    end = os.fstat(descriptor).st_size
    while end < num_bytes:
        end += os.pwrite(descriptor, zeros[: num_bytes - end], end)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("distil")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())

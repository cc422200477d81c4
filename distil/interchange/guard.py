"""What foreign files claim, checked against what lies on disk before anything is allocated or opened."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.interchange.episodes import BadEpisodeError

FREE_BYTES = 64 << 20  # what any source may claim: constants compress without limit, and fill values take no bytes at all
RATIO = 1 << 15  # the most that a codec in use here gains: zstd writes 4 bytes for a constant block of 128 KiB
DEFLATE_RATIO = 1032  # deflate's own limit: 258 bytes for 2 bits


class Claims:
    """The sizes that a source's arrays claim, all together.

    What its stored bytes can't be the compressed form of can only be fill values, of which a source holds no more than
    `FREE_BYTES` and what deflate would make of all its bytes.
    """

    def __init__(self, num_bytes: int) -> None:
        """Start to count for a source of `num_bytes` bytes on disk."""
        self._num_bytes, self._left = num_bytes, FREE_BYTES + DEFLATE_RATIO * num_bytes

    def add(self, what: str, claimed: int, stored: int, ratio: int = RATIO) -> None:
        """Count an array of `claimed` bytes, kept in `stored` bytes by a codec that gains at most `ratio`.

        Raises:
            InputError: the source can't hold that much.
        """
        stored = min(stored, self._num_bytes)
        self._left -= max(0, claimed - ratio * stored)
        if self._left < 0:
            raise InputError(
                f"{what}: claims {claimed:,} bytes, which its {stored:,} bytes on disk can't hold; restore it from a copy"
            )


def grid_bytes(shape: tuple[int, ...], chunks: tuple[int, ...] | None, item_bytes: int) -> int:
    """Return the bytes of an array of `shape` in whole chunks: what reading all of it allocates at most."""
    total = item_bytes
    for size, chunk in zip(shape, chunks or shape, strict=True):
        total *= -(-size // chunk) * chunk if chunk else size
    return total


def files_inside(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield every file below a folder, relative to it, and its size in bytes.

    Raises:
        InputError: a symbolic link leads out of the folder, or something isn't a plain file.
    """
    root = folder.resolve()
    for at, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(at, name)
            is_link = path.is_symlink()
            if is_link and not path.resolve().is_relative_to(root):
                raise InputError(f"{path}: a link that leads out of {folder}; copy the folder with `cp -rL` first")
            found = path.stat() if path.exists() else None
            if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                raise InputError(f"{path}: neither a file nor a folder; remove it")
            if is_link and stat.S_ISDIR(found.st_mode):
                raise InputError(f"{path}: a link to a folder; copy the folder with `cp -rL` first")
            if stat.S_ISREG(found.st_mode):
                yield path.relative_to(root), found.st_size


def require_inside(folder: Path) -> int:
    """Return the bytes of all files below a folder; InputError when `files_inside` refuses one."""
    return sum(size for _, size in files_inside(folder))


def zip_sizes(source: Path, file: zipfile.ZipFile) -> dict[str, int]:
    """Return the bytes that each entry takes in a zip; InputError for one that claims to unpack to more than it can."""
    on_disk = source.stat().st_size
    for entry in file.infolist():
        if entry.file_size > FREE_BYTES + DEFLATE_RATIO * min(entry.compress_size, on_disk):
            raise InputError(
                f"{source}/{entry.filename}: claims {entry.file_size:,} bytes, which its {entry.compress_size:,} can't hold"
            )
    return {entry.filename: entry.compress_size for entry in file.infolist()}


@dataclass(frozen=True, kw_only=True)
class NpyHeader:
    """What a .npy stream says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool

    def read(self, file: Any, what: str) -> np.ndarray[Any, Any]:
        """Return the array whose data come next; BadEpisodeError if it is cut off."""
        raw = file.read(grid_bytes(self.shape, None, self.dtype.itemsize))
        if len(raw) != grid_bytes(self.shape, None, self.dtype.itemsize):
            raise BadEpisodeError(f"{what} can't be read as .npy: it is cut off")
        return np.frombuffer(bytearray(raw), self.dtype).reshape(self.shape, order="F" if self.by_columns else "C")


def read_npy_header(file: Any, num_bytes: int, what: str) -> NpyHeader:
    """Return the header of a .npy stream that holds `num_bytes` bytes.

    Raises:
        BadEpisodeError: it isn't one, it claims more than it holds, or it holds objects, which are pickles.
    """
    fmt = np.lib.format
    try:
        version = fmt.read_magic(file)
        header = {(1, 0): fmt.read_array_header_1_0, (2, 0): fmt.read_array_header_2_0}.get(version)
        if header is None:
            raise ValueError(f"version {version} of the format isn't read")
        shape, by_columns, dtype = header(file)
        if dtype.hasobject:
            raise ValueError("it holds objects, which are pickles and aren't read")
        size = grid_bytes(shape, None, dtype.itemsize)
        if min(shape, default=0) < 0 or size > num_bytes:
            raise ValueError(f"claims {size:,} bytes and holds {num_bytes:,}")
    except (ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError) as error:
        raise BadEpisodeError(f"{what} can't be read as .npy: {' '.join(str(error).split())[:200]}") from None
    return NpyHeader(shape=shape, dtype=dtype, by_columns=by_columns)


def read_npy(file: Any, num_bytes: int, what: str) -> np.ndarray[Any, Any]:
    """Return the array of a .npy stream that holds `num_bytes` bytes; see `read_npy_header`."""
    return read_npy_header(file, num_bytes, what).read(file, what)

"""NumPy's .npz files (import only): arrays of all steps, or a file an episode. Arrays of objects are pickles: refused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.interchange.arrays import ArraysImport, Unreadable
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.guard import read_npy_header, zip_sizes
from distil.types import Array


class NpzImport(ArraysImport):
    """Options to read a .npz file, or a folder of them."""

    summary: ClassVar[str] = "NumPy .npz: arrays of all steps, or a file an episode"
    kind: Literal["npz"] = "npz"
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    @contextmanager
    def opened(self, file: Path) -> Iterator[Mapping[str, Any]]:
        """See `ArraysImport.opened`."""
        try:
            with zipfile.ZipFile(file) as archive:
                zip_sizes(file, archive)
                yield {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in archive.infolist()}
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise InputError(f"{file}: can't be read as .npz: {error}") from None


class _Npy:
    """An array of an archive, whose data are read when they are wanted."""

    def __init__(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        self._archive, self._entry = archive, entry
        with archive.open(entry) as file:
            header = read_npy_header(file, entry.file_size, entry.filename)
        self.shape, self.dtype = header.shape, np.dtype(header.dtype)
        self._values: Array | None = None

    def __getitem__(self, rows: slice) -> Array:
        if self._values is None:
            with self._archive.open(self._entry) as file:
                header = read_npy_header(file, self._entry.file_size, self._entry.filename)
                self._values = header.read(file, self._entry.filename)
        return self._values[rows]


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Npy | Unreadable:
    try:
        return _Npy(archive, entry)
    except BadEpisodeError as bad:
        why = bad.what.partition(": ")[2]
        return Unreadable("objects, which are pickles" if "objects" in why else f"damaged ({why})")

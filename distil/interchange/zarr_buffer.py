"""Arrays of a zarr folder or zip, opened safely.

An array's metadata is read as plain JSON before zarr opens it, and only numbers in codecs that can't run code are opened (a
`pickle` codec would unpickle). Nothing outside the folder is read, and no array is larger than its chunks can hold.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.interchange.base import require
from distil.interchange.episodes import BadEpisodeError, one_line
from distil.interchange.guard import RATIO, Claims, files_inside, grid_bytes, zip_sizes
from distil.types import Array

_CODECS = frozenset(
    "adler32 astype bitround blosc bytes bz2 crc32 crc32c delta fixedscaleoffset gzip lz4 lzma packbits quantize "  # noqa: SIM905
    "sharding_indexed shuffle transpose zlib zstd".split()
)
_RAW_CODECS = frozenset("adler32 bytes crc32 crc32c shuffle transpose".split())  # noqa: SIM905
_V3_TYPES = frozenset(
    [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)] + ["bool", "float16", "float32", "float64"]
)
_METADATA = (".zarray", "zarr.json")
_MOST_METADATA_BYTES = 1 << 24
_WHOLE_BYTES = 256 << 20  # smaller arrays are read at once: a slice would decode its chunks for each episode again
_FAULTS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, MemoryError, OverflowError)


class Rows:
    """An array of which slices are read; kept whole when it is small."""

    def __init__(self, array: Any, name: str) -> None:
        """Hold zarr's array; `name` is for messages."""
        self._array, self._name = array, name
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        self._whole: Array | None = None

    def __getitem__(self, rows: slice) -> Array:
        """Return the rows; BadEpisodeError when a chunk is damaged."""
        try:
            if self._whole is None and int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize <= _WHOLE_BYTES:
                self._whole = np.asarray(self._array[:])
            source = self._array if self._whole is None else self._whole
            return np.asarray(source[rows])
        except _FAULTS as error:
            raise BadEpisodeError(f"{self._name} can't be read: {one_line(error)}") from None


class Buffer:
    """An opened replay buffer."""

    def __init__(self, source: Path) -> None:
        """Look into a folder or zip; InputError if it isn't a replay buffer, or leads out of itself."""
        zarr = require("zarr", "zarr")
        self._source, self._zip = source, _open_zip(source) if source.is_file() else None
        self._sizes = zip_sizes(source, self._zip) if self._zip else {p.as_posix(): n for p, n in files_inside(source)}
        self._claims = Claims(sum(self._sizes.values()))
        arrays = [path for path in map(PurePosixPath, self._sizes) if self._is_array(path)]
        self.names = sorted({path.parent.relative_to("data").as_posix() for path in arrays if path.parts[0] == "data"})
        if not any(path.parts[:2] == ("meta", "episode_ends") for path in arrays):
            raise InputError(f"{source}: no replay buffer there (no array meta/episode_ends)")
        try:
            store = zarr.storage.ZipStore(source, mode="r") if self._zip else str(source)
            self._root = zarr.open_group(store, mode="r", use_consolidated=False)
        except _FAULTS as error:
            raise InputError(f"{source}: zarr can't read it: {one_line(error)}") from None

    def fault(self, name: str) -> str:
        """Return what an array holds, such as "datetime64[ns]", if it isn't read; else ""."""
        for data in self._metadata(name):
            if fault := _unreadable_kind(data) or ("a single number" if data.get("shape") == [] else ""):
                return fault
        return ""

    def array(self, name: str) -> Rows:
        """Return an array of numbers; InputError for others, unopened, and for one that claims more than its chunks hold."""
        for data in self._metadata(name):
            if fault := _unreadable_kind(data):
                raise InputError(f"{self._source}/{name}: it holds {fault}, not numbers; leave it out: observations=[...]")
            self._require_harmless(name, data)
        try:
            array = self._root[name]
            rows = Rows(array, name)
            chunks = getattr(array, "shards", None) or array.chunks
            claimed = grid_bytes(rows.shape, tuple(chunks), rows.dtype.itemsize)
        except _FAULTS as error:
            raise InputError(f"{self._source}/{name}: zarr can't read it: {one_line(error)}") from None
        packed = any(codec not in _RAW_CODECS for data in self._metadata(name) for codec in _codecs(data))
        num_bytes = sum(size for path, size in self._sizes.items() if path.startswith(f"{name}/"))
        self._claims.add(f"{self._source}/{name}", claimed, num_bytes, RATIO if packed else 1)
        if not rows.shape:
            raise InputError(f"{self._source}/{name}: a single number where rows are wanted")
        return rows

    def _metadata(self, name: str) -> Iterator[dict[str, Any]]:
        for file in _METADATA:
            if f"{name}/{file}" in self._sizes:
                yield self._json(f"{name}/{file}")

    def _is_array(self, path: PurePosixPath) -> bool:
        if len(path.parts) < 3 or path.name not in _METADATA:
            return False
        return path.name == ".zarray" or self._json(path.as_posix()).get("node_type") == "array"

    def _json(self, name: str) -> dict[str, Any]:
        if self._sizes[name] > _MOST_METADATA_BYTES:
            raise InputError(f"{self._source}/{name}: {self._sizes[name]:,} bytes of metadata; restore it from a copy")
        try:
            data = json.loads(self._zip.read(name) if self._zip else (self._source / name).read_bytes())
        except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile) as error:
            raise InputError(f"{self._source}/{name}: can't be read: {error}") from None
        return data if isinstance(data, dict) else {}

    def _require_harmless(self, name: str, data: Mapping[str, Any]) -> None:
        for codec in _codecs(data):
            if codec not in _CODECS:
                raise InputError(f"{self._source}/{name}: codec {codec!r} isn't read; leave it out: observations=[...]")


def _open_zip(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise InputError(f"{source}: neither a zarr folder nor a zip of one: {error}") from None


def _unreadable_kind(data: Mapping[str, Any]) -> str:
    """Return what an array's elements are, "" for numbers."""
    dtype = data.get("dtype", data.get("data_type"))
    if isinstance(dtype, str):
        v2 = len(dtype) > 2 and dtype[0] in "<>|" and dtype[1] in "biuf"
        return "" if v2 or dtype in _V3_TYPES else f"{_name(dtype)}"
    name = dtype.get("name") if isinstance(dtype, dict) else None
    return str(name) if name else "records"


def _name(dtype: str) -> str:
    kinds = {"M": "dates", "m": "durations", "U": "text", "S": "text", "O": "objects", "V": "records", "c": "complex numbers"}
    return f"{kinds[dtype[1]]} ({dtype})" if dtype[:1] in tuple("<>|") and dtype[1:2] in kinds else repr(dtype)


def _codecs(data: Mapping[str, Any]) -> Iterator[str]:
    listed = [data.get(key) for key in ("filters", "codecs")]
    lists = [value for value in listed if isinstance(value, list)]
    yield from _flat([data.get("compressor"), *(codec for codecs in lists for codec in codecs)])


def _flat(codecs: list[Any]) -> Iterator[str]:
    for codec in codecs:
        if codec is None:
            continue
        data = codec if isinstance(codec, dict) else {}
        yield str(data.get("id", data.get("name", codec))).removeprefix("numcodecs.")
        inner = data.get("configuration")
        if isinstance(inner, dict):
            yield from _flat([*(inner.get("codecs") or ()), *(inner.get("index_codecs") or ())])

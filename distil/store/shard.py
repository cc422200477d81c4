"""A shard: an immutable Arrow IPC file of whole episodes, mapped into memory to be read."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from distil.errors import RunError
from distil.store.files import os_fault
from distil.store.schema import FORMAT, FORMAT_KEY, INDEX_HASH_KEY, INDEX_KEY, INDEX_SCHEMA, MAX_UID_LENGTH, StoreSpec
from distil.types import Array

_PATH = re.compile(r"data/[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.arrow")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_MEND = "run `distil store verify`, then restore the file from a copy or read an older snapshot"
_READ_FAULTS = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
    AttributeError,
)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A sealed shard as manifests list it."""

    path: str  # relative to the store: data/NAME.arrow
    num_bytes: int
    num_rows: int
    num_episodes: int
    num_transitions: int
    digest: str  # xxh3-128 of the file, hex

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `from_json` reads it back."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any], row_bytes: int) -> ShardEntry:
        """Return the entry, or ValueError when its path leaves data/ or its counts can't be true."""
        path, digest = data["path"], data["digest"]
        names = ("num_bytes", "num_rows", "num_episodes", "num_transitions")
        counts = {name: data[name] for name in names}
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise ValueError(f"shard path {path!r} isn't a file in data/")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{path} has no valid digest")
        if any(type(count) is not int or not 0 < count < 1 << 62 for count in counts.values()):
            raise ValueError(f"{path} has counts that can't be true")
        entry = ShardEntry(path=path, digest=digest, **counts)
        if entry.num_rows != entry.num_transitions + entry.num_episodes or entry.num_rows * row_bytes > entry.num_bytes:
            raise ValueError(f"{path} has counts that can't be true")
        return entry


def write_shard(path: Path, spec: StoreSpec, columns: Mapping[str, Array | list[str]], index: pa.RecordBatch) -> None:
    """Write one shard to `path`, whole and flushed to disk; OSError when the disk refuses."""
    arrays = [column.to_arrow(np.asarray(columns[column.name])) for column in spec.columns()]
    if spec.infos:
        arrays.append(pa.array(columns["infos"], pa.large_string()))
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, index.schema) as writer:
        writer.write_batch(index)
    raw = stream.getvalue().to_pybytes()
    footer = {
        FORMAT_KEY: str(FORMAT).encode(),
        INDEX_KEY: base64.b64encode(raw),
        INDEX_HASH_KEY: xxhash.xxh3_64_hexdigest(raw).encode(),
    }
    schema = spec.schema()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, metadata=footer) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """Return the xxh3-128 of a file, in hex."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


class Shard:
    """An open shard. Its arrays are views of the mapped file: copy what must outlive the `with` block."""

    def __init__(self, path: Path, spec: StoreSpec, batch: pa.RecordBatch) -> None:
        self._path, self._batch = path, batch
        self._columns = {column.name: column for column in spec.columns()}

    def column(self, name: str) -> Array:
        """Return a fixed-width column, [rows, ...], read-only."""
        try:
            return self._columns[name].to_numpy(self._batch.column(name))
        except _READ_FAULTS as error:
            raise _damaged(self._path, error) from None

    def infos(self, first: int, num: int) -> tuple[str, ...]:
        """Return rows of the infos column."""
        try:
            values = self._batch.column("infos")
            values.validate(full=True)
            return tuple(values.slice(first, num).to_pylist())
        except _READ_FAULTS as error:
            raise _damaged(self._path, error) from None


@contextmanager
def open_shard(root: Path, entry: ShardEntry, spec: StoreSpec) -> Iterator[Shard]:
    """Map the shard that `entry` names below the store's folder `root`; RunError if it isn't what was sealed."""
    path = root / entry.path
    with _open_file(path, entry) as reader:
        try:
            if reader.num_record_batches != 1 or not reader.schema.equals(spec.schema()):
                raise ValueError("its columns aren't the store's")
            batch = reader.get_batch(0)
            batch.validate()
            if batch.num_rows != entry.num_rows:
                raise ValueError(f"it has {batch.num_rows} rows, not {entry.num_rows}")
        except _READ_FAULTS as error:
            raise _damaged(path, error) from None
        yield Shard(path, spec, batch)


def read_index(root: Path, entry: ShardEntry) -> pa.RecordBatch:
    """Return the index of a shard's episodes from its footer (columns of `INDEX_SCHEMA`), checked against `entry`."""
    path = root / entry.path
    with _open_file(path, entry) as reader:
        try:
            footer = reader.metadata
            raw = base64.b64decode(footer[INDEX_KEY], validate=True)
            if xxhash.xxh3_64_hexdigest(raw).encode() != footer[INDEX_HASH_KEY]:
                raise ValueError("the index of its episodes is altered")
            with pa.ipc.open_stream(raw) as stream:
                index = stream.read_next_batch().select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA)
            index.validate(full=True)
            _check_index(index, entry)
        except (*_READ_FAULTS, binascii.Error, StopIteration) as error:
            raise _damaged(path, error) from None
    return index


def _check_index(index: pa.RecordBatch, entry: ShardEntry) -> None:
    if any(column.null_count for column in index.columns) or index.num_rows != entry.num_episodes:
        raise ValueError("the index of its episodes doesn't fit the manifest")
    rows = index.column("length").to_numpy() + 1
    ends = np.cumsum(rows)
    if rows.min() < 2 or rows.max() > entry.num_rows or ends[-1] != entry.num_rows:
        raise ValueError("the lengths of its episodes can't be true")
    if not np.array_equal(index.column("first_row").to_numpy(), ends - rows):
        raise ValueError("its episodes don't follow one another")
    for name in ("uid", "source"):
        offsets = np.frombuffer(index.column(name).buffers()[1], np.int32, count=index.num_rows + 1)
        if np.diff(offsets).max() > 4 * MAX_UID_LENGTH:
            raise ValueError(f"an episode has an oversized {name}")


@contextmanager
def _open_file(path: Path, entry: ShardEntry) -> Iterator[Any]:
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise RunError(f"{path}: not a plain file; {_MEND}")
        if status.st_size != entry.num_bytes:
            raise RunError(f"{path}: {status.st_size} bytes, not {entry.num_bytes}: truncated or altered; {_MEND}")
        file = pa.memory_map(str(path), "r")
    except FileNotFoundError:
        raise RunError(f"{path}: the shard is missing; {_MEND}") from None
    except OSError as error:
        raise os_fault(error, path) from None
    with file:
        try:
            reader = pa.ipc.open_file(file)
            version = int((reader.metadata or {})[FORMAT_KEY])
        except _READ_FAULTS as error:
            raise _damaged(path, error) from None
        if version != FORMAT:
            raise RunError(f"{path}: format version {version}, this distil reads {FORMAT}; upgrade distil to read it")
        yield reader


def _damaged(path: Path, error: BaseException) -> RunError:
    detail = str(error).split("\n", 1)[0][:200] or type(error).__name__
    return RunError(f"{path}: damaged ({detail}); {_MEND}")

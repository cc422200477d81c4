"""A shard: an immutable Arrow IPC file of whole episodes, mapped into memory to be read."""

from __future__ import annotations

import fcntl
import io
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from distil.durable import discard
from distil.errors import InputError, RunError
from distil.store import codec
from distil.store.backend import backend
from distil.store.entry import READ_FAULTS, ShardEntry, check_size, damaged, missing
from distil.store.files import os_fault
from distil.store.footer import footer_metadata, read_index
from distil.store.ipc import require_plain_file
from distil.store.location import Location
from distil.store.schema import FORMAT_KEY, StoreSpec, check_format
from distil.types import Array

__all__ = ["Shard", "ShardEntry", "file_digest", "open_shard", "read_index", "seal_shard"]

Columns = Mapping[str, Array | pa.Array | list[str]]
_READ_BYTES, _SINK_BYTES = 1 << 22, 1 << 18


class _Sink(io.RawIOBase):
    """A file that hashes what is written to it, while that is still in the processor's cache."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest, self.num_bytes, self._file = xxhash.xxh3_128(), 0, file

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.num_bytes

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _SINK_BYTES):
            block = view[start : start + _SINK_BYTES]
            self.digest.update(block)
            while len(block):
                block = block[self._file.write(block) :]
        self.num_bytes += len(view)
        return len(view)


def seal_shard(
    root: Location, spec: StoreSpec, columns: Columns, index: pa.RecordBatch, name: str, *, by_content: bool = False
) -> ShardEntry:
    """Write a new shard into the store at `root`, durably, and return its entry, which isn't committed yet.

    Args:
        root: where the store lies.
        spec: the store's spec.
        columns: name -> values of all rows; infos may be a list of texts.
        index: of the episodes, columns of `INDEX_SCHEMA`.
        name: of the file, data/NAME.arrow; it must be unique.
        by_content: let the file's digest follow the name, data/NAME-DIGEST.arrow: others may then use it too.

    Raises:
        RunError: the disk is full or refuses. No part of the file stays behind.
    """
    files = backend(root)
    opened = files.staging() / f".{name}{f'-{secrets.token_hex(8)}' if by_content else ''}.open"
    try:
        with _written(opened, spec, columns, index) as (num_bytes, digest):
            name = f"{name}-{digest}" if by_content else name
            files.publish(opened, f"data/{name}.arrow")
    except OSError as error:
        raise os_fault(error, opened.with_name(f"{name}.arrow")) from None
    finally:
        discard(opened)
    num_transitions = int(index.column("length").to_numpy().sum())
    return ShardEntry(
        path=f"data/{name}.arrow",
        num_bytes=num_bytes,
        num_rows=num_transitions + index.num_rows,
        num_episodes=index.num_rows,
        num_transitions=num_transitions,
        digest=digest,
    )


@contextmanager
def _written(path: Path, spec: StoreSpec, columns: Columns, index: pa.RecordBatch) -> Iterator[tuple[int, str]]:
    """Write one shard to the new file `path`, whole and flushed to disk; OSError when the disk refuses.

    Until the block ends, the file is locked: `recover` sees that its writer lives, and leaves its publishing to it.

    Yields:
        Its size in bytes and its xxh3-128 in hex.
    """
    arrays = []
    for column in spec.columns():
        values = columns[column.name]
        arrays.append(values if isinstance(values, pa.Array) else column.to_arrow(np.asarray(values)))
    if spec.infos:
        infos = columns["infos"]
        arrays.append(infos if isinstance(infos, pa.Array) else pa.array(infos, pa.large_string()))
    schema = spec.schema()
    with _create_locked(path) as file:
        sink = _Sink(file)
        with pa.PythonFile(sink, "w") as target, pa.ipc.new_file(target, schema, metadata=footer_metadata(index)) as writer:
            writer.write_batch(pa.record_batch(arrays, schema=schema))
        os.fsync(file.fileno())
        yield sink.num_bytes, str(sink.digest.hexdigest())


def _create_locked(path: Path) -> IO[bytes]:
    """Return a new file that is locked while it is open."""
    while True:
        file = open(path, "xb", buffering=0)  # noqa: SIM115 - the caller closes it
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # `recover` found it before it was locked, and removed it


def file_digest(root: Location, entry: ShardEntry) -> str:
    """Return the xxh3-128 of the file that `entry` names, in hex, from where it really lies (never from a cache)."""
    digest = xxhash.xxh3_128()
    for start in range(0, entry.num_bytes, _READ_BYTES):
        for part in backend(root).get_ranges(entry.path, [start], [min(_READ_BYTES, entry.num_bytes - start)]):
            digest.update(part)
    return str(digest.hexdigest())


class Shard:
    """An open shard. Its arrays are views of the mapped file: copy what must outlive the `with` block."""

    def __init__(self, path: Location, spec: StoreSpec, batch: pa.RecordBatch) -> None:
        self._path, self._batch = path, batch
        self._columns = {column.name: column for column in spec.columns()}

    def column(self, name: str) -> Array:
        """Return a fixed-width column, [rows, ...], read-only (or decoded, if it has a codec)."""
        try:
            return self._columns[name].to_numpy(self._batch.column(name))
        except READ_FAULTS as error:
            raise damaged(self._path, error) from None

    def rows(self, name: str, first: int, num: int) -> Array:
        """Return rows of a fixed-width column, [num, ...], read-only (or decoded: only these, if it has a codec)."""
        column = self._columns[name]
        if column.codec == codec.RAW:
            return self.column(name)[first : first + num]
        try:
            return column.to_numpy(self._batch.column(name).slice(first, num))
        except READ_FAULTS as error:
            raise damaged(self._path, error) from None

    def arrow(self, name: str) -> pa.Array:
        """Return any column as Arrow holds it."""
        return self._batch.column(name)

    def infos(self, first: int, num: int) -> tuple[str, ...]:
        """Return rows of the infos column."""
        try:
            values = self._batch.column("infos").slice(first, num)
            values.validate(full=True)
            return tuple(values.to_pylist())
        except READ_FAULTS as error:
            raise damaged(self._path, error) from None

    def frames(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return (offsets [rows + 1], data [bytes]) of a column with a codec, as views, for `distil.store.codec.decode`."""
        try:
            return codec.blocks(self._batch.column(name))
        except READ_FAULTS as error:
            raise damaged(self._path, error) from None


@contextmanager
def open_shard(root: Location, entry: ShardEntry, spec: StoreSpec) -> Iterator[Shard]:
    """Map the shard that `entry` names in the store at `root`; RunError if it isn't what was sealed.

    A remote shard is downloaded whole, into the local cache.
    """
    where = root / entry.path
    with _open_file(root, entry) as reader:
        try:
            if reader.num_record_batches != 1 or not reader.schema.equals(spec.schema()):
                raise ValueError("its columns aren't the store's")
            batch = reader.get_batch(0)
            batch.validate()
            if batch.num_rows != entry.num_rows:
                raise ValueError(f"it has {batch.num_rows} rows, not {entry.num_rows}")
        except READ_FAULTS as error:
            raise damaged(where, error) from None
        yield Shard(where, spec, batch)


@contextmanager
def _open_file(root: Location, entry: ShardEntry) -> Iterator[Any]:
    where = root / entry.path
    try:
        if isinstance(root, Path):
            check_size(root, entry)
        path = backend(root).local(entry.path, entry.num_bytes, entry.digest)
        file = pa.memory_map(str(path), "r")
    except FileNotFoundError:
        raise missing(where) from None
    except OSError as error:
        raise os_fault(error, Path(str(where))) from None
    with file:
        try:
            require_plain_file(memoryview(file.read_buffer()))
            reader = pa.ipc.open_file(file)
            check_format(int((reader.metadata or {})[FORMAT_KEY]), where)
        except InputError as error:
            raise RunError(str(error)) from None
        except READ_FAULTS as error:
            raise damaged(where, error) from None
        yield reader

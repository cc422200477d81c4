"""The index of a shard's episodes in the file's footer, read without the rest of the file, or without the file at all."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from distil.errors import InputError, RunError
from distil.store.backend import backend
from distil.store.entry import READ_FAULTS, ShardEntry, check_size, damaged, missing
from distil.store.ipc import require_plain_message
from distil.store.location import Location
from distil.store.schema import (
    FORMAT,
    FORMAT_KEY,
    INDEX_HASH_KEY,
    INDEX_KEY,
    INDEX_SCHEMA,
    MAX_UID_LENGTH,
    UNKNOWN_SUCCESS,
    check_format,
)

MAX_FOOTER_BYTES = 1 << 28
_MAGIC, _END_BYTES = b"ARROW1", 10  # a file ends with the footer's size, 4 bytes, and the magic word
_TAIL_BYTES = 1 << 16


def index_stream(index: pa.RecordBatch) -> bytes:
    """Return an index of episodes as an Arrow IPC stream; `parse_stream` reads it back."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, index.schema) as writer:
        writer.write_batch(index)
    raw: bytes = stream.getvalue().to_pybytes()
    return raw


def footer_metadata(index: pa.RecordBatch) -> dict[bytes, bytes]:
    """Return what a writer puts into the footer."""
    raw = index_stream(index)
    return {
        FORMAT_KEY: str(FORMAT).encode(),
        INDEX_KEY: base64.b64encode(raw),
        INDEX_HASH_KEY: xxhash.xxh3_64_hexdigest(raw).encode(),
    }


@dataclass(frozen=True, kw_only=True)
class Footer:
    """A shard's footer, as the process that sealed the shard hands it on: nobody else has to open the file for it."""

    tail: bytes  # the end of the file, from the footer on
    check: str  # xxh3-128 of the shard's entry and the tail, hex: a footer is never taken for another shard's

    @staticmethod
    def read(root: Location, entry: ShardEntry) -> Footer:
        """Return the footer in the file of `entry`; RunError if it isn't what was sealed."""
        tail, _ = _read(root, entry)
        return Footer(tail=tail, check=_check(entry, tail))

    def index(self, root: Location, entry: ShardEntry) -> pa.RecordBatch:
        """Return what `read_index` does, without the file; RunError if this isn't the footer of `entry`."""
        if self.check != _check(entry, self.tail):
            raise RunError(
                f"{root / entry.path}: the report of this shard has another shard's footer, or an altered one; check memory "
                "and network of the workers' hosts, then run again with --resume"
            )
        with _faults(root / entry.path):
            return _parse(root, entry, self.tail)


def read_index(root: Location, entry: ShardEntry) -> pa.RecordBatch:
    """Return the index of a shard's episodes from its footer (columns of `INDEX_SCHEMA`), checked against `entry`.

    Reads nothing but the file's end.
    """
    return _read(root, entry)[1]


def _read(root: Location, entry: ShardEntry) -> tuple[bytes, pa.RecordBatch]:
    with _faults(root / entry.path):
        if isinstance(root, Path):  # elsewhere it would be one more request
            check_size(root, entry)
        tail = read_tail(root, entry.path, entry.num_bytes)
        return tail, _parse(root, entry, tail)


def _parse(root: Location, entry: ShardEntry, tail: bytes) -> pa.RecordBatch:
    index = parse_index(tail, root / entry.path)
    check_index(index, [entry.num_episodes], [entry.num_rows])
    return index


def _check(entry: ShardEntry, tail: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(repr(entry).encode() + tail)


@contextmanager
def _faults(where: Location) -> Iterator[None]:
    """Name the shard in the error of whatever is wrong with its footer."""
    try:
        yield
    except FileNotFoundError:
        raise missing(where) from None
    except InputError as error:
        raise RunError(str(error)) from None
    except (*READ_FAULTS, binascii.Error, StopIteration) as error:
        raise damaged(where, error) from None


def read_tail(root: Location, key: str, num_bytes: int) -> bytes:
    """Return the end of a shard of `num_bytes` bytes, from its footer on; ValueError if there is no footer."""

    def last(num: int) -> bytes:
        num = min(num, num_bytes)
        return backend(root).get_ranges(key, [num_bytes - num], [num])[0]

    tail = last(_TAIL_BYTES)
    if len(tail) <= _END_BYTES or not tail.endswith(_MAGIC):
        raise ValueError("it has no footer")
    footer = int.from_bytes(tail[-_END_BYTES : -len(_MAGIC)], "little", signed=True)
    if not 0 < footer <= min(num_bytes - _END_BYTES, MAX_FOOTER_BYTES):
        raise ValueError("its footer has an impossible size")
    return tail[-footer - _END_BYTES :] if footer + _END_BYTES <= len(tail) else last(footer + _END_BYTES)


def parse_index(tail: bytes, where: Location) -> pa.RecordBatch:
    """Return the index in the footer of `where`; ValueError, ArrowException and the like if it isn't what a writer wrote."""
    footer = pa.ipc.open_file(pa.BufferReader(_MAGIC + b"\0\0" + tail)).metadata or {}  # a file begins like this
    check_format(int(footer[FORMAT_KEY]), where)
    raw = base64.b64decode(footer[INDEX_KEY], validate=True)
    if xxhash.xxh3_64_hexdigest(raw).encode() != footer[INDEX_HASH_KEY]:
        raise ValueError("the index of its episodes is altered")
    return parse_stream(raw)


def parse_stream(raw: bytes) -> pa.RecordBatch:
    """Return what `index_stream` made, in today's columns; ValueError, ArrowException and the like if it isn't that."""
    messages = pa.ipc.MessageReader.open_stream(raw)
    for _ in range(2):  # the schema, the record batch
        require_plain_message(memoryview(messages.read_next_message().metadata))
    with pa.ipc.open_stream(raw) as stream:
        index = stream.read_next_batch()
    if "success" not in index.schema.names:
        index = index.append_column("success", pa.array(np.full(index.num_rows, UNKNOWN_SUCCESS, np.int8)))
    if not index.schema.equals(INDEX_SCHEMA):  # of another distil; a cast that does nothing takes a quarter of the time
        index = index.select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA)
    index.validate(full=True)
    return index


def check_index(index: pa.RecordBatch, num_episodes: Sequence[int], num_rows: Sequence[int]) -> None:
    """Raise ValueError unless the index of some shards, one after another, fits these numbers of each."""
    num, total = np.array(num_episodes, np.int64), np.array(num_rows, np.int64)
    if any(column.null_count for column in index.columns) or index.num_rows != num.sum():
        raise ValueError("the index of its episodes doesn't fit the manifest")
    rows, first = index.column("length").to_numpy() + 1, np.cumsum(num) - num
    if rows.min() < 2 or rows.max() > total.max() or not np.array_equal(np.add.reduceat(rows, first), total):
        raise ValueError("the lengths of its episodes can't be true")
    starts = np.cumsum(rows) - rows - np.repeat(np.cumsum(total) - total, num)
    if not np.array_equal(index.column("first_row").to_numpy(), starts):
        raise ValueError("its episodes don't follow one another")
    for name in ("uid", "source"):
        offsets = np.frombuffer(index.column(name).buffers()[1], np.int32, count=index.num_rows + 1)
        if np.diff(offsets).max() > 4 * MAX_UID_LENGTH:
            raise ValueError(f"an episode has an oversized {name}")


def describe(root: Location, key: str, num_bytes: int) -> ShardEntry:
    """Return the entry of a shard that no manifest lists, from its footer alone and with a digest of zeros.

    Raises:
        RunError: it has no sound footer: it wasn't written to its end.
        FileNotFoundError: it isn't there.
    """
    try:
        index = parse_index(read_tail(root, key, num_bytes), root / key)
        num_transitions = int(index.column("length").to_numpy().sum())
    except FileNotFoundError:
        raise
    except (*READ_FAULTS, binascii.Error, StopIteration) as error:
        raise damaged(root / key, error) from None
    return ShardEntry(
        path=key,
        num_bytes=num_bytes,
        num_rows=num_transitions + index.num_rows,
        num_episodes=index.num_rows,
        num_transitions=num_transitions,
        digest="0" * 32,
    )

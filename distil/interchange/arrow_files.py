"""Arrow IPC files and streams of others, opened safely: what compressed batches claim is compared with what they hold.

A compressed buffer begins with its decompressed size, which Arrow allocates before it decompresses; pyarrow doesn't show
it, so that the messages' flatbuffers are read here (format/Message.fbs and File.fbs of Apache Arrow).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from distil.errors import InputError
from distil.interchange.episodes import one_line
from distil.interchange.guard import Claims

FAULTS = (OSError, pa.ArrowException, ValueError, struct.error, MemoryError, OverflowError)
_MAGIC = b"ARROW1"
_DICTIONARY, _BATCH = 2, 3  # kinds of messages


def open_arrow(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file or stream, mapped and validated, so that no offset leads out of it.

    Raises:
        InputError: it isn't one, it is damaged, or a batch claims more than it can hold.
    """
    try:
        with pa.memory_map(str(path)) as file:
            claims = Claims(file.size())
            is_file = file.read(len(_MAGIC)) == _MAGIC
            messages = _file_messages(file) if is_file else _stream_messages(file)
            for message in messages:
                claims.add(str(path), *_claimed(message))
            file.seek(0)
            reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
            for batch in (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else reader:
                batch.validate(full=True)
                yield batch
    except InputError:
        raise
    except FAULTS as error:
        raise InputError(f"{path}: can't be read as Arrow: {one_line(error)}") from None


def _stream_messages(file: pa.MemoryMappedFile) -> Iterator[pa.ipc.Message]:
    file.seek(0)
    yield from pa.ipc.MessageReader.open_stream(file)


def _file_messages(file: pa.MemoryMappedFile) -> Iterator[pa.ipc.Message]:
    tail = 4 + len(_MAGIC)
    (size,) = struct.unpack("<i", file.read_at(4, max(file.size() - tail, 0)))
    if not 0 < size <= file.size() - tail:
        raise ValueError("its footer has an impossible size")
    footer = file.read_at(size, file.size() - tail - size)
    root = _Table(footer, struct.unpack_from("<I", footer)[0])
    for slot in (2, 3):  # dictionaries, record batches
        for at in root.vector(slot, 24):
            file.seek(struct.unpack_from("<q", footer, at)[0])
            yield pa.ipc.read_message(file)


def _claimed(message: pa.ipc.Message) -> tuple[int, int]:
    """Return the bytes that a message's compressed buffers claim, and those that they have; zeros when none is compressed."""
    raw, body = message.metadata.to_pybytes(), message.body
    root = _Table(raw, struct.unpack_from("<I", raw)[0])
    kind = raw[at] if (at := root.field(1)) else 0
    if kind not in (_DICTIONARY, _BATCH) or body is None:
        return 0, 0
    batch = root.table(2)
    if kind == _DICTIONARY:
        batch = batch.table(1)
    if not batch.field(3):
        return 0, 0
    claimed = stored = 0
    for at in batch.vector(2, 16):
        offset, length = struct.unpack_from("<qq", raw, at)
        if length >= 8:
            if not 0 <= offset <= body.size - length:
                raise ValueError("a buffer lies outside its batch")
            stored += length
            claimed += max(0, struct.unpack("<q", body.slice(offset, 8).to_pybytes())[0])
    return claimed, stored


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw, self._at = raw, at
        self._fields = at - struct.unpack_from("<i", raw, at)[0]

    def field(self, slot: int) -> int:
        """Return where a field is, 0 if it isn't there."""
        size = struct.unpack_from("<H", self._raw, self._fields)[0]
        offset = struct.unpack_from("<H", self._raw, self._fields + 4 + 2 * slot)[0] if 6 + 2 * slot <= size else 0
        return self._at + offset if offset else 0

    def table(self, slot: int) -> _Table:
        """Return the table that a field refers to."""
        if not (at := self.field(slot)):
            raise ValueError("a part of a message is missing")
        return _Table(self._raw, at + struct.unpack_from("<I", self._raw, at)[0])

    def vector(self, slot: int, item_bytes: int) -> range:
        """Return where each item of a vector of structs is."""
        if not (at := self.field(slot)):
            return range(0)
        at += struct.unpack_from("<I", self._raw, at)[0]
        count = struct.unpack_from("<I", self._raw, at)[0]
        if at + 4 + count * item_bytes > len(self._raw):
            raise ValueError("a list in a message leads out of it")
        return range(at + 4, at + 4 + count * item_bytes, item_bytes)

"""Refusing compressed Arrow IPC: its buffers claim a size that pyarrow allocates before it looks at them.

What distil writes is never compressed this way, so a record batch is a part of its file and takes no memory of its own. The
layouts read here are those of Arrow's `Message.fbs` and `File.fbs` (https://arrow.apache.org/docs/format/Columnar.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_END_BYTES = 10  # of a file: the footer's size and a magic word
_HEADER, _COMPRESSION, _BATCHES = 2, 3, 3  # fields of a message, a record batch, a footer
_BLOCK_BYTES, _MARK = 24, 0xFFFFFFFF


def require_plain_file(data: memoryview) -> None:
    """Raise ValueError if a record batch of the Arrow IPC file `data` is compressed, or can't be found."""
    try:
        end = len(data) - _END_BYTES
        begin = end - _int("<i", data, end)
        for offset in _batches(data[begin:end]):
            if _int("<I", data, offset) != _MARK:
                raise ValueError("a record batch isn't where its footer says")
            require_plain_message(data[offset + 8 :])  # after the mark and a size
    except struct.error:
        raise ValueError("its footer makes no sense") from None


def require_plain_message(message: memoryview) -> None:
    """Raise ValueError if the record batch that the Arrow message `message` is the metadata of is compressed."""
    try:
        header = _field(message, _int("<I", message, 0), _HEADER)
        if header and _field(message, header + _int("<I", message, header), _COMPRESSION):
            raise ValueError("it is compressed as a whole, which distil never does")
    except struct.error:
        raise ValueError("its metadata make no sense") from None


def _batches(footer: memoryview) -> Iterator[int]:
    """Yield the offsets of a footer's record batches."""
    field = _field(footer, _int("<I", footer, 0), _BATCHES)
    if field:
        vector = field + _int("<I", footer, field)
        for number in range(_int("<I", footer, vector)):
            yield _int("<q", footer, vector + 4 + _BLOCK_BYTES * number)


def _field(data: memoryview, table: int, number: int) -> int:
    """Return where a field of a flatbuffer's table is; 0 if the table lacks it."""
    vtable = table - _int("<i", data, table)
    if 4 + 2 * number >= _int("<H", data, vtable):
        return 0
    offset = _int("<H", data, vtable + 4 + 2 * number)
    return table + offset if offset else 0


def _int(kind: str, data: memoryview, offset: int) -> int:
    if offset < 0:
        raise struct.error("outside of the data")
    return int(struct.unpack_from(kind, data, offset)[0])

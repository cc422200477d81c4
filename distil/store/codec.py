"""Codecs of columns: `raw` is fixed-width tensors, `lz4` compresses each row (an image, say) by itself and without loss.

A compressed column is Arrow's large_binary with one LZ4 block a row, so that any row can be read alone and the footer's
format doesn't change. A row that doesn't shrink is kept as it is: its length is then the row's own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distil.types import Array

RAW, LZ4 = "raw", "lz4"
CODECS = (RAW, LZ4)
_MAX_RATIO, _SPARE_BYTES = 255, 64  # an LZ4 block can't decode to more than 255 times its size plus 64 bytes


@cache
def _codec() -> Any:
    return pa.Codec("lz4_raw")


def encoded_type() -> pa.DataType:
    """Return the Arrow type of a compressed column."""
    return pa.large_binary()


def encode(values: Array) -> pa.Array:
    """Return `values` [rows, ...] as an Arrow array of `encoded_type`, one compressed block a row."""
    rows = _bytes(np.ascontiguousarray(values))
    compress = _codec().compress
    blocks = []
    for row in rows:
        block = compress(row.data, asbytes=True)
        blocks.append(block if len(block) < row.size else row.tobytes())
    offsets = np.zeros(len(blocks) + 1, np.int64)
    np.cumsum([len(block) for block in blocks], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(blocks))]
    return pa.Array.from_buffers(encoded_type(), len(blocks), buffers)


def blocks(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return (offsets [rows + 1], data [bytes]) of a compressed column, views of its memory; ValueError if they can't be."""
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, count=array.offset + len(array) + 1)[array.offset :]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    check_offsets(offsets, len(data))
    return offsets, data


def check_offsets(offsets: NDArray[np.int64], num_bytes: int) -> None:
    """Raise ValueError unless `offsets` [rows + 1] cut `num_bytes` bytes into blocks."""
    if len(offsets) and (offsets[0] < 0 or offsets[-1] > num_bytes or np.any(offsets[1:] < offsets[:-1])):
        raise ValueError("its compressed blocks don't lie in the file")


def min_block_bytes(row_bytes: int) -> int:
    """Return the least that a block of a row of `row_bytes` bytes can take: what claims more promises memory, not data."""
    return max(0, row_bytes - _SPARE_BYTES) // _MAX_RATIO


def decode(offsets: NDArray[np.int64], data: NDArray[np.uint8], out: Array) -> None:
    """Decompress blocks `data[offsets[i] : offsets[i + 1]]` into `out` [rows, ...] (C-contiguous); ValueError if damaged."""
    bounds = offsets.tolist()
    decode_at(bounds[:-1], bounds[1:], data, out)


def decode_at(begins: list[int], ends: list[int], data: NDArray[np.uint8], out: Array) -> None:
    """Decompress block `data[begins[i] : ends[i]]` into `out[i]` for each i; ValueError if one is damaged."""
    flat = _bytes(out)
    size, decompress, view = flat.shape[1], _codec().decompress, data.data
    least = min_block_bytes(size)
    for row, begin, end in zip(flat, begins, ends, strict=True):
        if end - begin == size:
            row[:] = data[begin:end]
            continue
        try:
            if end - begin < least:
                raise ValueError
            row[:] = np.frombuffer(decompress(view[begin:end], size), np.uint8)
        except (pa.ArrowException, OSError, ValueError):
            raise ValueError("a compressed row is damaged") from None


def _bytes(rows: Array) -> NDArray[np.uint8]:
    """Return [rows, bytes of a row] over the same memory."""
    return rows.reshape(len(rows), int(np.prod(rows.shape[1:]))).view(np.uint8)

"""TFRecord files and the tf.train.Example messages in them, without TensorFlow: framing, checksums, the few protobuf fields."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from distil.errors import RunError
from distil.interchange.base import require
from distil.types import Array

Feature = Array | list[bytes]  # float32 or int64 values, or texts
_MAX_RECORD_BYTES = 1 << 31


def records(path: Path) -> Iterator[bytes]:
    """Yield a file's records; RunError when a checksum doesn't fit or the file ends too early."""
    crc = _crc()
    with open(path, "rb") as file:
        number = 0
        while head := file.read(12):
            size, check = struct.unpack("<QI", head) if len(head) == 12 else (0, None)
            if check != _mask(crc(head[:8])) or size > _MAX_RECORD_BYTES:
                raise RunError(f"{path}: record {number} is damaged; restore the file from a copy")
            data, tail = file.read(size), file.read(4)
            if len(tail) < 4 or struct.unpack("<I", tail)[0] != _mask(crc(data)):
                raise RunError(f"{path}: record {number} is damaged; restore the file from a copy")
            yield data
            number += 1


def write_record(file: IO[bytes], data: bytes) -> None:
    """Append one record."""
    crc, head = _crc(), struct.pack("<Q", len(data))
    file.write(head + struct.pack("<I", _mask(crc(head))) + data + struct.pack("<I", _mask(crc(data))))


def _crc() -> Any:
    return require("google_crc32c", "rlds").value


def _mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def parse_example(data: bytes) -> dict[str, Feature]:
    """Return the features of a tf.train.Example; ValueError if it isn't one."""
    out: dict[str, Feature] = {}
    for number, features in _fields(memoryview(data)):
        for entry, item in _fields(features) if number == 1 else ():
            if entry == 1:
                parts = dict(_fields(item))
                out[bytes(parts[1]).decode()] = _feature(parts.get(2, memoryview(b"")))
    return out


def make_example(features: Mapping[str, Feature]) -> bytes:
    """Return a tf.train.Example of float32 arrays, integer arrays, and texts."""
    entries = []
    for name, values in features.items():
        if isinstance(values, list):
            kind, packed = 1, b"".join(_field(1, text) for text in values)
        elif values.dtype.kind == "f":
            kind, packed = 2, _field(1, np.ascontiguousarray(values, "<f4").tobytes())
        else:
            kind, packed = 3, _field(1, _varints(values.reshape(-1)))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, _field(kind, packed))))
    return _field(1, b"".join(entries))


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _varints(values: Array) -> bytes:
    if values.size and (values.min() < 0 or values.max() > 127):
        return b"".join(_varint(int(value) & (1 << 64) - 1) for value in values)
    return values.astype(np.uint8).tobytes()


def _feature(data: memoryview) -> Feature:
    for kind, values in _fields(data):
        if kind == 1:
            return [bytes(text) for _, text in _fields(values)]
        parts = [(number, part) for number, part in _fields(values)]
        packed = b"".join(bytes(part) for _, part in parts)
        return np.frombuffer(packed, "<f4") if kind == 2 else _read_varints(np.frombuffer(packed, np.uint8))
    return []


def _read_varints(data: Array) -> Array:
    """Return int64 values of 7 bits a byte, lowest first; the last byte of each is below 128."""
    ends = np.flatnonzero(data < 128)
    if len(ends) == len(data):
        return data.astype(np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    if not len(ends) or ends[-1] != len(data) - 1 or sizes.max() > 10:
        raise ValueError("a number that isn't whole")
    out = np.zeros(len(ends), np.uint64)
    for at in range(int(sizes.max())):
        mask = sizes > at
        out[mask] |= (data[starts[mask] + at].astype(np.uint64) & np.uint64(127)) << np.uint64(7 * at)
    return out.view(np.int64)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (field number, content) of a message; single numbers are given as their bytes."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = _read_varint(data, at)
        elif kind == 0:
            _, end = _read_varint(data, at)
            size = end - at
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("not a message")
        if at + size > len(data):
            raise ValueError("a field that isn't whole")
        yield tag >> 3, data[at : at + size]
        at += size


def _read_varint(data: Sequence[int], at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("a number that isn't whole")

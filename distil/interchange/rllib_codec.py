"""How RLlib writes data: msgpack with arrays as msgpack-numpy codes them, and arrays as text. Nothing is unpickled."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
from msgpack.exceptions import UnpackException  # type: ignore[import-untyped,unused-ignore]

from distil.interchange.episodes import BadEpisodeError
from distil.interchange.guard import read_npy
from distil.types import Array

try:  # RLlib replaces `msgpack.unpackb` in its process by one that unpickles arrays of objects: take msgpack's own
    from msgpack._cmsgpack import Packer, unpackb  # type: ignore[import-untyped,import-not-found,unused-ignore]
except ImportError:  # as msgpack does where it has no compiled module
    from msgpack.fallback import Packer, unpackb  # type: ignore[import-untyped,unused-ignore]

_MAX_TEXT_BYTES = 1 << 24  # of an array in a text


def pack(value: Any) -> bytes:
    """Return a value, with arrays in it, as msgpack."""
    return bytes(Packer(default=_encode).pack(value))


def unpack(raw: bytes) -> Any:
    """Return the value in `raw`. An array is never larger than its bytes in it.

    Raises:
        ValueError: it is damaged, or holds an array of objects, which would be a pickle.
    """
    try:
        return unpackb(raw, object_hook=_decode, strict_map_key=False)
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        SyntaxError,
        RecursionError,
        UnpackException,
    ) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def array_text(values: Array) -> str:
    """Return an array as a text: base64 of compressed npy."""
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return base64.b64encode(zlib.compress(out.getvalue())).decode("ascii")


def array_of(text: str) -> Array:
    """Return the array of `array_text`; ValueError or zlib.error if it is damaged, or of objects."""
    raw = zlib.decompressobj().decompress(base64.b64decode(text), _MAX_TEXT_BYTES)
    try:
        return read_npy(io.BytesIO(raw), len(raw), "a bound")
    except BadEpisodeError as bad:
        raise ValueError(bad.what) from None


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value).tobytes()
        return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": list(value.shape), b"data": data}
    if isinstance(value, np.generic):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    raise TypeError(f"{type(value).__name__} can't be packed")


def _decode(item: dict[Any, Any]) -> Any:
    """Undo msgpack-numpy; its arrays of objects are pickles, its records aren't needed: both are refused."""
    if b"nd" not in item:
        return item
    if item.get(b"kind", b"") or not isinstance(item[b"type"], str):
        raise ValueError("an array of objects")
    dtype = np.dtype(item[b"type"])
    if dtype.hasobject:
        raise ValueError("an array of objects")
    values = np.frombuffer(item[b"data"], dtype)
    return values.reshape(item[b"shape"]) if item[b"nd"] else values[0]

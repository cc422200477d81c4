from __future__ import annotations

import zlib
from typing import Any

import msgpack
import numpy as np
import pytest

from distil.interchange.rllib_codec import array_of, array_text, pack, unpack


def array(**changes: Any) -> bytes:
    item = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2], b"data": b"\0" * 8}
    return bytes(msgpack.packb({"w": item | {key.encode(): value for key, value in changes.items()}}))


def test_arrays_and_scalars_come_back_as_msgpack_numpy_writes_them() -> None:
    codec = pytest.importorskip("msgpack_numpy")
    value = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.float64(0.5), "s": ["x", 3, None]}
    for raw in (pack(value), msgpack.packb(value, default=codec.encode)):
        found = unpack(raw)
        np.testing.assert_array_equal(found["w"], value["w"])
        assert (found["n"], found["s"]) == (0.5, ["x", 3, None])


def test_nothing_is_unpickled_where_rllib_has_replaced_msgpack(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = pytest.importorskip("msgpack_numpy")
    for name in ("Packer", "Unpacker", "load", "loads", "dump", "dumps", "pack", "packb", "unpack", "unpackb"):
        monkeypatch.setattr(msgpack, name, getattr(msgpack, name))
    codec.patch()
    monkeypatch.setattr(codec.pickle, "loads", lambda _: pytest.fail("unpickled"))
    with pytest.raises(ValueError, match="an array of objects"):
        unpack(array(type="|O", kind=b"O"))
    np.testing.assert_array_equal(unpack(pack({"w": np.ones(2)}))["w"], np.ones(2))


@pytest.mark.parametrize(
    "raw",
    [
        array(kind=b"O", data=b"cos\nsystem\n"),
        array(type="|O"),
        array(type=[["a", "<f4"]]),
        array(shape=[10**12]),
        array(shape=[2**63]),
        array(shape="x"),
        array(data=b"\0" * 7),
        array(data=3),
        array(nd=False, data=b""),
        array(type="<f4" * 1000),
        b"\xdd\xff\xff\xff\xff",  # a list of 4 billion items
        b"\xc6\xff\xff\xff\xff",  # 4 GB
        b"\x91" * 5000,  # nested
        b"",
    ],
)
def test_hostile_data_are_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack(raw)


def test_arrays_as_text() -> None:
    values = np.arange(3.0)
    np.testing.assert_array_equal(array_of(array_text(values)), values)
    for text in ("AAAA", array_text(values)[:20], array_text(np.zeros(1 << 22))):
        with pytest.raises((ValueError, zlib.error)):
            array_of(text)

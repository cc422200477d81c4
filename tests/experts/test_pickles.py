import contextlib
import os
import pickle
import subprocess
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from distil.errors import InputError
from distil.experts import pickles


class Evil:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_executes_nothing(tmp_path, protocol):
    marker = tmp_path / "executed"
    attacks = [
        Evil(os.system, f"touch {marker}"),
        Evil(eval, f"open({str(marker)!r}, 'w')"),
        Evil(open, str(marker), "w"),
        Evil(subprocess.check_output, ["touch", str(marker)]),
        Evil(os.mkdir, str(marker)),
        Evil(getattr, "text", "upper"),
        Evil(np.save, str(marker), 1),
        Evil(np.fromfile, str(marker)),
    ]
    for attack in attacks:
        for data in (attack, [1, {"x": attack}]):
            with pytest.raises(InputError, match=r"x.pkl: refused, it asks for [\w.]+, which such a file never contains"):
                pickles.read(pickle.dumps(data, protocol), "x.pkl")
    assert not marker.exists()
    pickle.loads(pickle.dumps(attacks[4], protocol))  # the attack itself is a real one
    assert marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cgymnasium\nos.system\n(S'touch %s'\ntR.",  # a path through an allowed package
        b"cstable_baselines3\nsubprocess.os.system\n(S'touch %s'\ntR.",
        b"cnumpy\nndarray\n(cnumpy\ndtype\nS'touch %s'\ntR.",
        b"ccollections\nOrderedDict\n(}S'__init__'\nS'touch %s'\nstR.",
    ],
)
def test_allowed_names_become_inert_records(tmp_path, program):
    marker = tmp_path / "executed"
    try:
        pickles.read(program.replace(b"%s", str(marker).encode()), "x")
    except InputError:
        return
    finally:
        assert not marker.exists()


def test_classes_here_cannot_be_changed_by_a_pickle():
    program = b"cnumpy\nndarray\n}S'args'\nI1\nsb."  # BUILD on the class itself
    with pytest.raises(InputError, match=r"not a readable pickle"):
        pickles.read(program, "x")
    assert not hasattr(pickles._NDArray, "args")


@pytest.mark.parametrize("data", [b"", b"junk", pickle.dumps(list(range(99)))[:-3], b"\x80\x05\x82\x01.", b"Pid\n.", b"h\x05."])
def test_damaged(data):
    with pytest.raises(InputError, match=r"x: (not a readable pickle|refused)"):
        pickles.read(data, "x")


def test_too_large(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_BYTES", 10)
    with pytest.raises(InputError, match=r"x: 11 bytes; the limit for such a file is 10"):
        pickles.read(b"." * 11, "x")


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(3, dtype=">f8"),
        np.array([True, False]),
        np.array(2.5),
        np.float64(3.5),
        np.int64(-4),
        np.zeros((0, 3)),
    ],
    ids=repr,
)
def test_arrays_are_read(protocol, value):
    got = pickles.array(pickles.read(pickle.dumps(value, protocol), "x"))
    assert got.dtype == value.dtype
    np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize("value", [np.array([{}, None]), np.zeros(2, [("a", "f8")]), np.array(["abc"]), "text", None, {}])
def test_anything_but_an_array_of_numbers_is_refused(value):
    with pytest.raises(InputError, match=r"only numbers are read|in place of an array"):
        pickles.array(pickles.read(pickle.dumps(value, 4), "x"))


def test_an_array_with_a_false_size_is_refused():
    data = pickle.dumps(np.zeros(3), 4).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85")
    with pytest.raises(InputError, match=r"a damaged array"):
        pickles.array(pickles.read(data, "x"))


def test_ordered_dictionaries_are_plain_ones():
    assert pickles.read(pickle.dumps(OrderedDict(a=1)), "x") == {"a": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"})" + b"2\x86" * 26 + b"K\x01s.",  # 2 ** 26 hashes in 57 bytes, by copies on the stack
        b"})q\x000" + b"h\x00h\x00\x86q\x000" * 40 + b"h\x00K\x01s.",  # by the memo
        b"\x8f()q\x000" + b"h\x00h\x00\x86q\x000" * 40 + b"(h\x00\x90.",
        b"\x96" + (1 << 40).to_bytes(8, "little") + b".",  # a bytearray of a terabyte
        b"\x8e" + (1 << 40).to_bytes(8, "little") + b".",
        b"\x95" + (1 << 60).to_bytes(8, "little") + b".",
        b"I" + b"9" * 100_000 + b"\n.",
        b"N0" * pickles.MAX_OPS + b"N.",
        b"cnumpy\ndtype\n)" + b"q\x000h\x00h\x00\x86" * 40 + b"\x85R.",
    ],
    ids=["copies", "memo key", "set", "bytearray", "bytes", "frame", "digits", "instructions", "an argument"],
)
def test_a_short_pickle_uses_little_memory_and_time(data):
    tracemalloc.start()
    try:
        with contextlib.suppress(InputError):
            pickles.array(pickles.read(data, "x"))
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data) + 5_000_000
    finally:
        tracemalloc.stop()


def test_the_contents_of_sets_are_ignored():
    for protocol in (2, 3, 4):
        value = pickles.read(pickle.dumps({"a": {1, 2}, "b": frozenset("x"), "c": 3}, protocol), "x")
        assert value["c"] == 3
        with pytest.raises(InputError, match=r"Record in place of an array"):
            pickles.array(value["a"])


def test_any_damage_is_an_input_error():
    rng = np.random.default_rng(0)
    whole = pickle.dumps({"a": np.zeros(3), "b": OrderedDict(c=np.float64(1)), "d": [np.arange(4)]}, 4)
    for _ in range(1000):
        altered = bytearray(whole)
        for place in rng.integers(len(whole), size=2):
            altered[place] = rng.integers(256)
        with contextlib.suppress(InputError):  # and nothing else
            content = pickles.read(bytes(altered), "x")
            for value in content.values() if isinstance(content, dict) else [content]:
                pickles.array(value)

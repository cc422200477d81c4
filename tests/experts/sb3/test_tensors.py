import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from distil.errors import InputError
from distil.experts.sb3.tensors import read_tensors

torch = pytest.importorskip("torch")
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


def saved(value, zipped=True):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@FORMATS
def test_equals_torch(zipped):
    x = torch.arange(24.0).reshape(4, 6) - 7
    state = {
        "transposed": x.T,
        "slice": x[1:, ::2],
        "parameter": torch.nn.Parameter(x.clone()),
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        **{str(t): x.abs().to(t) for t in (torch.half, torch.bfloat16, torch.double, torch.long, torch.int, torch.short)},
        **{str(t): x.abs().to(t) for t in (torch.int8, torch.uint8, torch.bool)},
    }
    got = read_tensors(saved(state, zipped), "x")
    assert list(got) == list(state)
    for name, value in state.items():
        assert got[name].dtype == np.float32
        np.testing.assert_array_equal(got[name], value.detach().float().numpy(), err_msg=name)


def test_the_names_that_were_read_are_recorded():
    got = read_tensors(saved(torch.nn.Linear(2, 3).state_dict()), "x")
    assert "weight" in got
    assert "other" not in got
    assert got.get("other") is None
    assert got.used == set()
    got["weight"]
    assert got.used == {"weight"}


@FORMATS
def test_a_tensor_larger_than_its_bytes_is_refused(zipped):
    for value in (torch.zeros(1).expand(1 << 30), torch.zeros(8, 1).expand(8, 1 << 40)):
        with pytest.raises(
            InputError, match=r"x refused, not plain weights: a of sizes \[.*\] is larger than its storage of \d numbers"
        ):
            read_tensors(saved({"a": value}, zipped), "x")
    data = saved({"a": torch.arange(6.0)}, zipped)
    for size in (b"K\x07\x85", b"J\xff\xff\xff\x7f\x85"):
        with pytest.raises(InputError, match=r"refused, not plain weights"):
            read_tensors(data.replace(b"K\x06\x85", size), "x")
    many = torch.zeros(100)
    with pytest.raises(InputError, match=r"its tensors of 40000 bytes share the same storage"):
        read_tensors(saved({str(i): many for i in range(100)}, zipped), "x")


@FORMATS
@pytest.mark.parametrize(
    "value",
    [torch.zeros(2), {"a": 1}, {"a": {"b": torch.zeros(2)}}, [torch.zeros(2)], {"a": torch.zeros(2).to_sparse()}],
    ids=repr,
)
def test_anything_but_a_dictionary_of_tensors_is_refused(zipped, value):
    with pytest.raises(
        InputError, match=r"x refused, not plain weights: (it is not a dictionary of tensors|refused, it asks for)"
    ):
        read_tensors(saved(value, zipped), "x")


def test_complex_numbers_are_refused():
    with pytest.raises(InputError, match=r"a storage of kind 'ComplexFloat'; only numbers are read"):
        read_tensors(saved({"a": torch.zeros(2, dtype=torch.complex64)}), "x")


def test_members_that_unpack_to_more_than_they_hold_are_refused():
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/data/0", b"\0" * 3_000_000)
    with pytest.raises(InputError, match=r"member archive/data/0 unpacks to 3000000 bytes"):
        read_tensors(inner.getvalue(), "x")


def test_a_truncated_or_foreign_stream_is_refused():
    data = saved({"a": torch.arange(6.0)}, zipped=False)
    for size in range(0, len(data), 7):
        with pytest.raises(InputError, match=r"x refused, not plain weights"):
            read_tensors(data[:size], "x")
    with pytest.raises(InputError, match=r"it was not written by torch.save"):
        read_tensors(pickle.dumps({"a": 1}) * 5, "x")
    with pytest.raises(InputError, match=r"bytes, the file has 24 left"):
        read_tensors(data[:-32] + struct.pack("<q", 1 << 50) + data[-24:], "x")


@pytest.mark.filterwarnings("ignore")
@FORMATS
def test_any_damage_is_one_line(zipped):
    rng, whole = np.random.default_rng(0), saved({"a": torch.arange(6.0), "b": torch.zeros(2, 3)}, zipped)
    for _ in range(300):
        altered = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            altered[place] = rng.integers(256)
        try:
            tensors = read_tensors(bytes(altered), "x")
            assert all(tensors[name].size <= 12 for name in tensors)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017 - some damage does no harm

from pathlib import Path

import numpy as np
import pytest

from distil.errors import InputError
from distil.policies import arrayfile


def test_arrays_and_header_come_back_scalars_too(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.float32(2.5).reshape(())}
    path = arrayfile.write(tmp_path, "thing", {"format": 3}, arrays)
    text, again = arrayfile.read(tmp_path, "thing", "make one")
    assert path == tmp_path / "thing.safetensors"
    assert all(again[name].shape == value.shape and np.array_equal(again[name], value) for name, value in arrays.items())
    header = arrayfile.parse(text, "thing", 3)
    assert header == {"format": 3, "digest": arrayfile.digest(again)}
    assert arrayfile.digest({**arrays, "b": np.float32(2.25).reshape(())}) != header["digest"]


@pytest.mark.parametrize(
    ("text", "fault"), [("[", "is no JSON"), ("[]", "thing format None"), ('{"format": 4}', "thing format 4")]
)
def test_other_headers_are_refused(text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        arrayfile.parse(text, "thing", 3)

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from distil.interchange.episodes import BadEpisodeError
from distil.interchange.lists import from_lists, numpy_dtype, to_lists


@pytest.mark.parametrize("shape", [(), (3,), (2, 4, 1)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64", "bool"])
def test_there_and_back(shape: tuple[int, ...], dtype: str) -> None:
    arrays = [np.random.default_rng(n).integers(0, 2, (n, *shape)).astype(dtype) for n in (2, 1, 5)]
    lists = to_lists(arrays)
    assert len(lists) == 3
    assert numpy_dtype(lists.type) == dtype
    for array, scalar in zip(arrays, lists, strict=True):
        back = from_lists(scalar.values)
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, array)


def test_the_array_of_a_slice() -> None:
    rows = pa.array([[1.0, 2], [3, 4], [5, 6]]).slice(1, 2)
    np.testing.assert_array_equal(from_lists(rows), [[3, 4], [5, 6]])
    fixed = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int64(), 2)).slice(1, 2)
    np.testing.assert_array_equal(from_lists(fixed), [[3, 4], [5, 6]])


@pytest.mark.parametrize(
    ("values", "text", "step"),
    [
        (pa.array([[1.0, 2], [3]]), "differ in length", 1),
        (pa.array([[1.0], None]), "holds nothing", 1),
        (pa.array([1.0, None, 2]), "holds nothing", 1),
        (pa.array(["a"]), "holds string rather than numbers", None),
        (None, "is missing", None),
    ],
)
def test_what_is_no_array(values: Any, text: str, step: int | None) -> None:
    with pytest.raises(BadEpisodeError, match=text) as caught:
        from_lists(values)
    assert caught.value.step == step

import numpy as np
import pytest

from distil.errors import InputError
from distil.heads.tiles import rows, tiling, weight_of


@pytest.mark.parametrize("num", [1, 8, 9, 16, 40])
def test_cut_rows_come_back(num: int) -> None:
    values = np.arange(num * 3, dtype=np.float32).reshape(num, 3)
    tiles = tiling(num)
    cut = tiles.cut(values)
    assert cut.shape == (tiles.num, 3, tiles.lanes)
    np.testing.assert_array_equal(rows(cut, num), values)


def test_a_weight_has_its_bias_and_whole_outputs() -> None:
    arrays = {"a.weight": np.ones((3, 2)), "a.bias": np.full(3, 2.0)}
    found = weight_of(arrays, "a", 2, 8)
    assert found.shape == (8, 3)
    np.testing.assert_array_equal(found[:3], [[1, 1, 2]] * 3)
    assert not found[3:].any()
    with pytest.raises(InputError, match=r"policy weights a: found \(3, 2\), expected \(n, 5\)"):
        weight_of(arrays, "a", 5)
    with pytest.raises(InputError, match="policy weights b: found nothing"):
        weight_of(arrays, "b", 5)

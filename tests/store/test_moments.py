import numpy as np
import pytest

from distil.errors import InputError
from distil.store.moments import block_rows, gather, moments_of


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2)])
def test_moments_are_numpys(shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).normal(1000, 0.1, (70_000, *shape)).astype(np.float32)
    found = moments_of({"x": rows})["x"]
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.std, wide.std(0), rtol=1e-9)
    np.testing.assert_array_equal(found.minimum, wide.min(0))
    np.testing.assert_array_equal(found.maximum, wide.max(0))
    assert (found.count, found.mean.shape) == (70_000, shape)


def test_blocks_are_bounded_in_rows_and_bytes() -> None:
    assert block_rows([]) == block_rows([(), (128,)]) == 1 << 16
    assert block_rows([(3,), (1 << 20,)]) == 8
    assert block_rows([(1 << 30,)]) == 1


def test_columns_without_rows_have_no_statistics() -> None:
    assert moments_of({"x": np.zeros((0, 3))}) == {}
    assert set(gather([{"x": np.zeros(0), "y": np.ones(2)}, {"x": np.zeros(0), "y": np.ones(1)}])) == {"y"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    """CORRECTNESS 8."""
    rows = np.zeros((9, 2), np.float32)
    rows[7, 1] = value
    with pytest.raises(InputError, match="obs isn't finite in row 7 of the training data"):
        gather({"obs": rows[i : i + 2]} for i in range(0, 9, 2))

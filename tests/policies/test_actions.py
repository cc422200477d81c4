import gymnasium as gym
import numpy as np
import pytest

from distil.policies.actions import Decoder
from distil.spaces import action_spec


def test_boxes_are_scaled_clipped_and_cast() -> None:
    leaf = action_spec(gym.spaces.Box(-3, 4, (2,), np.int32)).leaf
    arrays = {"actions.centre": np.full(2, 0.5, np.float32), "actions.half_width": np.full(2, 3.5, np.float32)}
    out = Decoder(leaf, arrays)(np.array([[-1.0, 1.0], [5.0, 0.03]], np.float32))
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out, [[-3, 4], [4, 1]])


@pytest.mark.parametrize("bound", [0.1, 1 / 3, 7e-3])
def test_no_rounding_leaves_the_bounds(bound: float) -> None:
    """CORRECTNESS 9."""
    space = gym.spaces.Box(-bound, bound, (1,), np.float64)
    arrays = {"actions.centre": np.zeros(1, np.float32), "actions.half_width": np.full(1, bound, np.float32)}
    out = Decoder(action_spec(space).leaf, arrays)(np.array([[1.0], [-1.0]], np.float32))
    assert all(space.contains(row) for row in out)


def test_choices_get_their_start_shape_and_dtype() -> None:
    discrete = Decoder(action_spec(gym.spaces.Discrete(3, start=5)).leaf, {})(np.array([[0], [2]]))
    np.testing.assert_array_equal(discrete, [5, 7])
    factors = Decoder(action_spec(gym.spaces.MultiDiscrete([[2, 3], [4, 5]])).leaf, {})(np.arange(8).reshape(2, 4))
    assert factors.shape == (2, 2, 2)

import gymnasium as gym
import numpy as np
import pytest
from gatebed import BOX, CHOICE, leaf

from distil.experts.gates.discrepancy import Discrepancy


def test_a_discrepancy_is_in_half_action_ranges_and_a_mean_over_the_dimensions():
    apart = Discrepancy(leaf(BOX))  # ranges 4 and 10
    zero = np.array([[0, 5]], np.float32)
    assert apart(zero, zero).tolist() == [0]
    assert apart(zero, np.array([[1, 5]], np.float32)).tolist() == [0.25]
    assert apart(np.array([[-2, 0]], np.float32), np.array([[2, 10]], np.float32)).tolist() == [2]
    assert apart(np.array([[2, 0], [0, 5]]), np.array([[-2, 0], [0, 10]])).tolist() == [1, 0.5]


def test_a_dimension_without_bounds_counts_in_its_own_unit():
    half_open = gym.spaces.Box(np.array([-np.inf, 0, -1], np.float32), np.array([np.inf, np.inf, 1], np.float32))
    apart = Discrepancy(leaf(half_open))
    assert apart(np.zeros((1, 3)), np.array([[3.0, 6.0, 0.0]])).tolist() == [3]


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_actions_of_any_shape_and_type(dtype):
    apart = Discrepancy(leaf(gym.spaces.Box(-3, 5, (2, 2), dtype)))
    assert apart(np.full((2, 2, 2), -3, dtype), np.full((2, 2, 2), 5, dtype)).tolist() == [2, 2]
    assert apart(np.array([[[0, 0], [0, 4]]], dtype), np.zeros((1, 2, 2), dtype)).tolist() == [0.25]
    unsigned = Discrepancy(leaf(gym.spaces.Box(0, 8, (1,), np.uint8)))
    assert unsigned(np.array([[0]], np.uint8), np.array([[4]], np.uint8)).tolist() == [1]  # no 252


def test_of_choices_it_is_the_share_that_differs():
    assert Discrepancy(leaf(CHOICE))(np.array([1, 3]), np.array([1, 2])).tolist() == [0, 1]
    several = Discrepancy(leaf(gym.spaces.MultiDiscrete([2, 3, 2, 2])))
    assert several(np.array([[0, 2, 1, 1]]), np.array([[0, 0, 1, 1]])).tolist() == [0.25]

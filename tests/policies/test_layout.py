import gymnasium as gym
import numpy as np
import pytest

from distil.policies.layout import (
    action_scaling,
    carried_over,
    fixed_scaling,
    has_left,
    layout,
    num_features,
    observation_scaling,
    widened,
)
from distil.spaces import action_spec, observation_spec
from distil.store.moments import moments_of

SPACES = gym.spaces.Dict(
    a=gym.spaces.Box(-np.inf, np.inf, (2, 2)),
    b=gym.spaces.Tuple([gym.spaces.Discrete(3, start=5), gym.spaces.MultiDiscrete([2, 4]), gym.spaces.MultiBinary(2)]),
    c=gym.spaces.Box(0, 255, (3, 3), np.uint8),
)
PARTS = layout(observation_spec(SPACES).leaves)


def test_every_leaf_has_its_place() -> None:
    assert [(part.leaf.name, part.offset, part.size) for part in PARTS] == [
        ("obs/a", 0, 4),
        ("obs/b/0", 4, 3),
        ("obs/b/1", 7, 6),
        ("obs/b/2", 13, 2),
        ("obs/c", 15, 9),
    ]
    assert num_features(PARTS) == 24
    np.testing.assert_array_equal(PARTS[1].value, [5, 6, 7])
    np.testing.assert_array_equal(PARTS[2].factor, [0, 0, 1, 1, 1, 1])


def test_statistics_are_nan_until_there_is_data() -> None:
    mean, inv_std = fixed_scaling(PARTS)
    assert np.isnan(mean[:4]).all()
    assert np.isnan(inv_std[:4]).all()
    assert (mean[4:] == 0).all()
    np.testing.assert_allclose(inv_std[15:], 1 / 255)


def test_constant_and_near_constant_dimensions_keep_their_unit() -> None:
    """CORRECTNESS 8: no NaN, no explosion."""
    parts = layout(observation_spec(gym.spaces.Box(-1, 1, (3,))).leaves)
    rng = np.random.default_rng(0)
    rows = np.stack([np.full(100, 7.0), 3 + 1e-6 * rng.normal(size=100), rng.normal(size=100)], 1)
    mean, inv_std, constant = observation_scaling(parts, moments_of({"obs": rows}), 1e-4)
    np.testing.assert_allclose(mean, rows.mean(0))
    np.testing.assert_allclose(inv_std, [1, 1, 1 / rows[:, 2].std()])
    assert constant == ["obs[0]", "obs[1]"]
    _, inv_std, constant = observation_scaling(parts, moments_of({"obs": rows}), 1e-7)
    np.testing.assert_allclose(inv_std[1], 1 / rows[:, 1].std(), rtol=1e-6)
    assert constant == ["obs[0]"]


@pytest.mark.parametrize("unit", [1e-12, 1e-5, 0.03])
def test_a_small_unit_changes_nothing_but_the_unit(unit: float) -> None:
    """CORRECTNESS 33: the floor is relative to the largest magnitude of the leaf."""
    parts = layout(observation_spec(gym.spaces.Box(-1, 1, (4,))).leaves)
    rows = np.random.default_rng(0).normal(size=(100, 4)) * [1, 0.01, 1e-6, 0] + [0, 0, 0, 0.5]
    rows /= abs(rows).max()
    mean, inv_std, constant = observation_scaling(parts, moments_of({"obs": rows}), 1e-4)
    assert constant == ["obs[2]", "obs[3]"]
    assert inv_std[2] == inv_std[3] == 1
    small = observation_scaling(parts, moments_of({"obs": rows * unit}), 1e-4)
    np.testing.assert_allclose(small[0], mean * unit)
    np.testing.assert_allclose(small[1], inv_std / unit)
    assert small[2] == constant


def test_a_leaf_of_zeros_keeps_its_unit() -> None:
    parts = layout(observation_spec(gym.spaces.Box(-1, 1, (2,))).leaves)
    mean, inv_std, constant = observation_scaling(parts, moments_of({"obs": np.zeros((5, 2))}), 1e-4)
    assert (mean.tolist(), inv_std.tolist(), constant) == ([0, 0], [1, 1], ["obs[0]", "obs[1]"])


def test_actions_are_scaled_by_bounds_or_else_by_labels() -> None:
    low, high = np.array([-2, 0, -np.inf, -1e9], np.float32), np.array([2, 10, np.inf, 1e9], np.float32)
    leaf = action_spec(gym.spaces.Box(low, high)).leaf
    labels = np.array([[0, 0, -3, 5], [1, 1, 1, 5.0]])
    centre, half = action_scaling(leaf, moments_of({"action": labels})["action"])
    np.testing.assert_allclose(centre, [0, 5, -1, 5])
    np.testing.assert_allclose(half, [2, 5, 2 * 1.05, 1])
    assert np.isnan(action_scaling(leaf, None)[0]).tolist() == [False, False, True, True]


def test_labels_outside_of_the_scaling_widen_it() -> None:
    """CORRECTNESS 34: each label lies inside then, what was reachable stays so, and bounded dimensions stay as they are."""
    leaf = action_spec(gym.spaces.Box(np.float32([-1, -np.inf, -np.inf]), np.float32([1, np.inf, np.inf]))).leaf
    first, later = np.array([[0, -0.7, 2], [0.5, 0.7, 3]]), np.array([[1, -6.4, 2.2], [-1, 3.0, 3.02]])
    centre, half = action_scaling(leaf, moments_of({"action": first})["action"])
    assert widened(leaf, centre, half, moments_of({"action": first})["action"]) is None
    found = widened(leaf, centre, half, moments_of({"action": later})["action"])
    assert found is not None
    np.testing.assert_allclose(found[0], [0, -1.7, 2.5])
    np.testing.assert_allclose(found[1], [1, 4.7 * 1.05, 0.5 * 1.05])
    both = np.concatenate([first, later])
    assert (abs(both - found[0]) <= found[1]).all()
    assert widened(leaf, *found, moments_of({"action": both})["action"]) is None
    slope, shift = carried_over((centre, half), found)
    np.testing.assert_allclose((slope[0], shift[0], slope[2], shift[2]), (1, 0, 1, 0), atol=1e-12)
    for part in (-0.5, 0.5):
        before, u = centre + half * part, np.arctanh(part)
        np.testing.assert_allclose(found[0] + found[1] * np.tanh(slope * u + shift), before)


def test_data_have_left_where_most_dimensions_that_vary_are_far() -> None:
    """In units of the old statistics, mean or deviation above 5; dimensions without any spread have no say."""
    spread = np.random.default_rng(0).normal(size=(500, 4))
    for scale, offset, expected in (
        ([6, 6, 1, 1], 0, True),
        ([6, 1, 1, 1], 0, False),
        ([4, 4, 4, 4], 0, False),
        ([1, 1, 1, 1], 6, True),
        ([6, 1, 0, 0], 0, True),
    ):
        rows = 2 * (spread * scale + offset) + 1
        assert has_left(PARTS, np.ones(24), np.full(24, 0.5), moments_of({"obs/a": rows.reshape(-1, 2, 2)})) == expected
    assert not has_left(PARTS, np.ones(24), np.ones(24), moments_of({"obs/a": np.ones((9, 2, 2))}))
    assert not has_left((), np.zeros(0), np.zeros(0), {})

import gymnasium as gym
import numpy as np
import pytest

from distil.errors import InputError
from distil.policies.layout import action_scaling, fixed_scaling, layout, moments, num_features, observation_scaling
from distil.spaces import action_spec, observation_spec

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


def test_moments_are_numpys() -> None:
    rows = np.random.default_rng(0).normal(1000, 0.1, (70_000, 3)).astype(np.float32)
    mean, std = moments(rows)
    np.testing.assert_allclose(mean, rows.astype(np.float64).mean(0))
    np.testing.assert_allclose(std, rows.astype(np.float64).std(0))


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
    mean, inv_std = observation_scaling(parts, {"obs": rows}, 1e-4)
    np.testing.assert_allclose(mean, rows.mean(0))
    np.testing.assert_allclose(inv_std, [1, 1, 1 / rows[:, 2].std()])
    np.testing.assert_allclose(observation_scaling(parts, {"obs": rows}, 1e-7)[1][1], 1 / rows[:, 1].std(), rtol=1e-6)


@pytest.mark.parametrize(
    ("columns", "message"),
    [({}, "no rows"), ({"obs": np.zeros((0, 3))}, "no rows"), ({"obs": np.array([[0, 0, 0], [0, np.nan, 0.0]])}, "row 1")],
)
def test_a_missing_statistic_is_an_error(columns: dict, message: str) -> None:
    """CORRECTNESS 8."""
    with pytest.raises(InputError, match=message):
        observation_scaling(layout(observation_spec(gym.spaces.Box(-1, 1, (3,))).leaves), columns, 1e-4)


def test_actions_are_scaled_by_bounds_or_else_by_labels() -> None:
    low, high = np.array([-2, 0, -np.inf, -1e9], np.float32), np.array([2, 10, np.inf, 1e9], np.float32)
    leaf = action_spec(gym.spaces.Box(low, high)).leaf
    labels = np.array([[0, 0, -3, 5], [1, 1, 1, 5.0]])
    centre, half = action_scaling(leaf, {"action": labels})
    np.testing.assert_allclose(centre, [0, 5, -1, 5])
    np.testing.assert_allclose(half, [2, 5, 2 * 1.05, 1])
    assert np.isnan(action_scaling(leaf, None)[0]).tolist() == [False, False, True, True]

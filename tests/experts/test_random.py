import numpy as np
import pytest
from gymnasium import spaces

from distil.experts.random import RandomExpert, sample
from distil.spaces import action_spec

SPACES = [
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([2, 5]),
    spaces.MultiBinary(4),
    spaces.Box(-2, 3, (2,), np.float32),
    spaces.Box(0, 255, (2, 2), np.uint8),
    spaces.Box(np.array([-np.inf, 0, -np.inf], np.float32), np.array([np.inf, np.inf, 1], np.float32)),
]


def obs(num):
    return {"obs": np.zeros((num, 1))}


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_are_in_the_space(space):
    actions = sample(action_spec(space).leaf, 500, np.random.default_rng(0))
    assert actions.dtype == space.dtype
    assert all(space.contains(a) for a in actions)
    if space.is_bounded() if isinstance(space, spaces.Box) else True:
        low, high = (space.low, space.high) if isinstance(space, spaces.Box) else (actions.min(0), actions.max(0))
        assert np.all(actions.max(0) - actions.min(0) >= 0.9 * (high - low.astype(float)))


def test_an_episode_depends_on_its_seed_alone():
    """CORRECTNESS 5."""
    leaf = action_spec(spaces.Box(-1, 1, (2,), np.float32)).leaf
    one, many = RandomExpert(leaf), RandomExpert(leaf)
    one.begin(0, 7)
    for slot in range(3):
        many.begin(slot, slot + 6)  # seed 7 is in slot 1
    for _ in range(5):
        many.act(obs(3))
    many.begin(1, 7)
    for _ in range(300):
        np.testing.assert_array_equal(one.act(obs(1)).actions[0], many.act(obs(3)).actions[1])


def test_slots_without_an_episode_get_a_valid_action():
    expert = RandomExpert(action_spec(spaces.Discrete(3, start=5)).leaf)
    np.testing.assert_array_equal(expert.act(obs(2)).actions, [5, 5])

import gymnasium as gym
import numpy as np
import pytest

from distil.errors import InputError
from distil.rollouts import NoiseConfig
from distil.rollouts.noise import make_noise
from distil.spaces import action_spec

BOX = action_spec(gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 10], np.float32))).leaf
CHOICE = action_spec(gym.spaces.Discrete(3, start=1)).leaf


def begun_noise(config, leaf, num):
    noise = make_noise(config, leaf, num)
    for slot in range(num):
        noise.begin(slot, slot)
    return noise


def test_gaussian_noise_has_the_documented_scale_and_stays_in_bounds():
    """CORRECTNESS 9."""
    noise = begun_noise(NoiseConfig(kind="gaussian", level=0.1), BOX, 500)
    middle = np.tile(np.array([0, 5], np.float32), (500, 1))
    draws = np.concatenate([noise.apply(middle)[0] - middle for _ in range(40)])
    np.testing.assert_allclose(draws.std(axis=0), [0.1, 0.5], rtol=0.03)
    edge, replaced = noise.apply(np.tile(np.array([1, 10], np.float32), (500, 1)))
    assert edge.dtype == np.float32
    assert (edge <= [1, 10]).all()
    assert not replaced.any()


def test_gaussian_noise_may_have_a_level_for_each_dimension():
    noise = begun_noise(NoiseConfig(kind="gaussian", level=(0.0, 0.2)), BOX, 500)
    middle = np.tile(np.array([0, 5], np.float32), (500, 1))
    draws = np.concatenate([noise.apply(middle)[0] - middle for _ in range(40)])
    assert (draws[:, 0] == 0).all()
    assert draws[:, 1].std() == pytest.approx(1.0, rel=0.03)


def test_unbounded_actions_count_as_half_range_one():
    leaf = action_spec(gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)).leaf
    noised, _ = begun_noise(NoiseConfig(kind="gaussian", level=0.5), leaf, 4000).apply(np.zeros((4000, 1), np.float32))
    assert abs(noised.std() - 0.5) < 0.03


@pytest.mark.parametrize("kind", ["epsilon", "gaussian"])
def test_noise_depends_on_the_episodes_seed_only(kind):
    """CORRECTNESS 5."""
    runs = []
    for slot, num in ((0, 1), (3, 5)):
        noise = make_noise(NoiseConfig(kind=kind, level=0.3), BOX, num)
        noise.apply(np.zeros((num, 2), np.float32))
        noise.begin(slot, 77)
        runs.append(np.stack([noise.apply(np.zeros((num, 2), np.float32))[0][slot] for _ in range(300)]))
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize(
    ("noise", "leaf", "words"),
    [
        (NoiseConfig(kind="gaussian"), CHOICE, "set noise.kind=epsilon"),
        (NoiseConfig(kind="epsilon", level=1.5), CHOICE, "at most 1"),
        (NoiseConfig(kind="epsilon", level=(0.5,)), CHOICE, "one probability"),
        (NoiseConfig(kind="gaussian", level=(0.1, 0.1, 0.1)), BOX, "noise.level has 3 numbers and the action 2"),
    ],
)
def test_noise_that_does_not_fit_is_refused(noise, leaf, words):
    with pytest.raises(InputError, match=words):
        make_noise(noise, leaf, 1)

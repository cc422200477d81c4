import numpy as np
import pytest

from distil.envs import GymEnvConfig, WrapperConfig, slots
from distil.envs.cartpole import CartPoleSlots


def test_only_plain_cartpoles_are_supported():
    assert CartPoleSlots.serves(GymEnvConfig(id="CartPole-v1", max_episode_steps=9))
    assert not CartPoleSlots.serves(GymEnvConfig(id="CartPole-v1", kwargs={"sutton_barto_reward": True}))
    assert not CartPoleSlots.serves(GymEnvConfig(id="CartPole-v1", wrappers=(WrapperConfig(target="a:b"),)))
    assert not CartPoleSlots.serves(GymEnvConfig(id="Pendulum-v1"))


@pytest.mark.parametrize("config", [GymEnvConfig(id="CartPole-v1"), GymEnvConfig(id="CartPole-v1", max_episode_steps=15)])
def test_episodes_are_those_of_single_environments(config):
    """CORRECTNESS 1, 2: including the flags and the last observation."""
    seeds, num = [11, 12, 13], 3
    native, single = slots(config, num), slots(config, num, native=False)
    assert isinstance(native, CartPoleSlots)
    rng = np.random.default_rng(0)
    for _ in range(3):
        seeds = [seed + 10 for seed in seeds]
        first = [places.reset([0, 1, 2], seeds)["obs"] for places in (native, single)]
        np.testing.assert_array_equal(*first)
        active = np.ones(num, np.bool_)
        while active.any():
            actions = rng.integers(2, size=num)
            one, two = (places.step(actions, active) for places in (native, single))
            np.testing.assert_array_equal(one.observations["obs"][active], two.observations["obs"][active])
            for name in ("rewards", "terminated", "truncated"):
                np.testing.assert_array_equal(getattr(one, name)[active], getattr(two, name)[active])
            active = active & ~(one.terminated | one.truncated)
        native.prepare([seed + 10 for seed in seeds] if seeds[0] == 21 else [5])  # known ahead, or not
    native.close()
    single.close()


def test_idle_poles_stay_finite():
    places = slots(GymEnvConfig(id="CartPole-v1"), 2)
    places.reset([0], [0])
    for _ in range(3000):
        result = places.step(np.array([1, 1]), np.array([False, False]))
    assert np.isfinite(result.observations["obs"]).all()

import gymnasium as gym
import numpy as np
import pytest

from distil.envs import GymEnvConfig, describe
from distil.envs.config import WrapperConfig
from distil.envs.horizon import FixedHorizon
from distil.errors import InputError


def _run(env: gym.Env, num: int) -> list[tuple]:
    env.reset(seed=3)
    return [env.step(0) for _ in range(num)]


def test_after_the_task_s_end_nothing_happens_until_the_limit() -> None:
    plain, fixed = _run(gym.make("CartPole-v1"), 9), _run(FixedHorizon(gym.make("CartPole-v1", max_episode_steps=30)), 30)
    num = next(i for i, step in enumerate(plain) if step[2]) + 1
    for ours, theirs in zip(fixed[:num], plain, strict=False):
        assert np.array_equal(ours[0], theirs[0])
        assert ours[1] == theirs[1]
    assert all(np.array_equal(step[0], fixed[num - 1][0]) for step in fixed[num:])
    assert sum(step[1] for step in fixed) == num
    assert [step[2:4] for step in fixed] == [(False, False)] * 29 + [(False, True)]


def test_each_episode_has_its_own_end() -> None:
    env = FixedHorizon(gym.make("CartPole-v1"), num_steps=12)
    for _ in range(2):
        assert [step[3] for step in _run(env, 12)] == [False] * 11 + [True]


def test_a_recipe_names_it() -> None:
    config = GymEnvConfig(id="CartPole-v1", wrappers=(WrapperConfig(target="distil.envs.horizon:FixedHorizon"),))
    assert describe(config).max_episode_steps == 500


def test_it_needs_a_limit() -> None:
    with pytest.raises(InputError, match="num_steps"):
        FixedHorizon(gym.make("CartPole-v1").unwrapped)

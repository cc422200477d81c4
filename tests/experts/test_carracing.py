"""The driver that reads CarRacing's simulator."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest

from distil.envs import GymEnvConfig, describe
from distil.errors import InputError
from distil.experts.scripted import ScriptedExpertConfig

CONFIG = GymEnvConfig(id="CarRacing-v3", max_episode_steps=100)


@pytest.fixture(scope="module")
def driver():
    return ScriptedExpertConfig().build(CONFIG, describe(CONFIG))


def ride(driver, seed: int, steps: int = 100) -> float:
    env = gym.make("CarRacing-v3")
    total, observation = 0.0, env.reset(seed=seed)[0]
    for _ in range(steps):
        action = driver.act({"obs": observation[None]}, envs=[env]).actions[0]
        observation, reward, *_ = env.step(action)
        total += float(reward)
    env.close()
    return total


def test_it_reads_the_simulator_row_by_row(driver) -> None:
    assert (driver.name, driver.needs_env, driver.stateful, driver.by_row) == ("scripted carracing", True, False, True)
    pickle.loads(pickle.dumps(driver))
    envs = [gym.make("CarRacing-v3") for _ in range(2)]
    images = np.stack([env.reset(seed=seed)[0] for seed, env in enumerate(envs)])
    for _ in range(60):
        images = np.stack([env.step(np.array([0.1, 0.4, 0], np.float32))[0] for env in envs])
    both = driver.act({"obs": images}, envs=envs)
    assert both.mask.all()
    alone = [driver.act({"obs": images[i : i + 1]}, envs=[env]).actions[0] for i, env in enumerate(envs)]
    np.testing.assert_array_equal(both.actions, np.stack(alone))
    assert (both.actions[0] != both.actions[1]).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_it_stays_on_the_road(driver, seed: int) -> None:
    """During the first 2 s the view zooms in and the car starts; each road tile gives about 3.5, not moving gives -10."""
    assert ride(driver, seed) > 40


def test_it_has_no_discrete_actions() -> None:
    config = GymEnvConfig(id="CarRacing-v3", kwargs={"continuous": False})
    with pytest.raises(InputError, match=r"scripted carracing: made for actions Box\(3\).*the environment has Discrete\(5\)"):
        ScriptedExpertConfig().build(config, describe(config))


def test_its_content_is_its_own_source() -> None:
    """Another driver gives other episodes."""
    assert list(ScriptedExpertConfig().content(CONFIG).sources) == ["distil.experts.carracing"]

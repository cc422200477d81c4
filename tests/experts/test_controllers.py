from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.lunar_lander import heuristic

from distil.experts import controllers


@pytest.fixture(scope="module")
def states():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(4000, 8)).astype(np.float32) * np.array([0.4, 0.6, 0.5, 0.5, 0.3, 0.3, 1, 1], np.float32)
    states[:, 6:] = rng.integers(0, 2, (4000, 2)) * (rng.random((4000, 1)) < 0.3)
    return states


@pytest.mark.parametrize("continuous", [False, True])
def test_lunarlander_equals_gymnasiums_heuristic(states, continuous):
    env = SimpleNamespace(unwrapped=SimpleNamespace(continuous=continuous))
    theirs = np.array([heuristic(env, state) for state in states])
    ours = (controllers.lunarlander_continuous if continuous else controllers.lunarlander_discrete)(states)
    np.testing.assert_array_equal(ours, theirs.astype(ours.dtype))
    assert len(np.unique(ours)) >= 4


@pytest.mark.parametrize(
    ("env_id", "control", "episodes", "least"),
    [
        ("CartPole-v1", controllers.cartpole, 3, 500),
        ("MountainCarContinuous-v0", controllers.mountaincar_continuous, 3, 95),
        ("Pendulum-v1", controllers.pendulum, 20, -170),
        ("LunarLander-v3", controllers.lunarlander_discrete, 3, 200),
    ],
)
def test_controllers_solve_their_tasks(env_id, control, episodes, least):
    env = gym.make(env_id)
    returns = []
    for seed in range(episodes):
        obs, _ = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(control(obs[None])[0])
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    assert np.mean(returns) >= least


def test_a_row_does_not_depend_on_the_others(states):
    for control, width in ((controllers.cartpole, 4), (controllers.pendulum, 3), (controllers.lunarlander_continuous, 8)):
        together = control(states[:, :width])
        alone = np.concatenate([control(states[i : i + 1, :width]) for i in range(50)])
        np.testing.assert_array_equal(together[:50], alone)

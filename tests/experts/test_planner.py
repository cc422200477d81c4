import pickle

import numpy as np
import pytest

from distil.envs import GymEnvConfig, ImportEnvConfig, describe, make
from distil.experts.planner import Planner
from distil.experts.scripted import ScriptedExpertConfig


def mean_return(env: GymEnvConfig | ImportEnvConfig, num: int) -> float:
    expert, total, one = ScriptedExpertConfig().build(env, describe(env)), 0.0, make(env)
    for seed in range(num):
        (state, _), over = one.reset(seed=seed), False
        while not over:
            action = int(expert.act({"obs": np.array([state])}).actions[0])
            state, reward, terminated, truncated, _ = one.step(action)
            total, over = total + float(reward), terminated or truncated
    return total / num


@pytest.mark.parametrize(
    ("env", "least"),
    [
        (GymEnvConfig(id="CliffWalking-v1"), -13),
        (GymEnvConfig(id="FrozenLake-v1", kwargs={"is_slippery": False}), 1),
        (GymEnvConfig(id="Taxi-v3"), 6),
        (ImportEnvConfig(target="distil.envs.gridworld:GridWorld", kwargs={"slip": 0.0, "starts": [[0, 0]]}), 39),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_is_optimal_where_the_dynamics_are_known(env: GymEnvConfig | ImportEnvConfig, least: float) -> None:
    assert mean_return(env, 20) >= least


def test_it_is_plain_data() -> None:
    planner = Planner(GymEnvConfig(id="FrozenLake-v1"))
    copy, states = pickle.loads(pickle.dumps(planner)), {"obs": np.arange(16)}
    np.testing.assert_array_equal(copy.act(states).actions, planner.act(states).actions)

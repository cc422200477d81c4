"""The benchmark of compounding errors: its environments, its fit, and one tiny case of it end to end."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import compounding_envs as envs
import compounding_error as benchmark


def test_a_wrong_step_costs_the_rest_until_the_expert_climbs_back() -> None:
    env = envs.Cliff(horizon=8)
    env.reset(seed=0)
    wrong = 1 - env.right_action
    rewards = [env.step(np.int64(wrong))[1]]
    rewards += [env.step(np.int64(action))[1] for action in (0, 1, 0)]  # sides mean nothing below the cliff
    assert rewards == [-1, -1, -1, -1]
    assert env.right_action == 2
    assert env.step(np.int64(2))[1] == 0


@pytest.mark.parametrize("name", list(benchmark.ENVS))
def test_the_expert_never_errs_and_never_shows_the_way_back(name: str) -> None:
    env = benchmark.ENVS[name](horizon=64)
    observations, actions = envs.expert_steps(env, 50)
    if name == "cliff":
        assert set(actions.tolist()) == {0, 1}
        assert (observations[:, 1] == 0).all()
    else:
        assert np.abs(observations[:, 0]).max() < envs.Lane.EDGE


@pytest.mark.parametrize("side", [-1, 1])
def test_the_expert_leaves_the_ditch_at_once(side: int) -> None:
    env = envs.Lane(horizon=64)
    env.reset(seed=1)
    while -1 < env._y < 1:
        env.step(np.array([side * envs.Lane.LIMIT]))
    costs = [-env.step(np.array(env.right_action))[1] for _ in range(10)]
    assert sum(costs) <= 3
    assert costs[-1] == 0


def test_the_fit_finds_the_exponent_with_its_interval() -> None:
    rng, horizons = np.random.default_rng(0), (8, 16, 32, 64, 128)
    found = benchmark.fit(horizons, [0.002 * T**2 * rng.exponential(size=(3, 500)) for T in horizons])
    low, high = found.interval
    assert low < 2 < high
    assert 0.02 < high - low < 0.2


def test_one_case_end_to_end() -> None:
    size = benchmark.Size(labels=256, gradient_steps=64, evaluation_steps=256)
    found = benchmark.measure(benchmark.Case(env="cliff", algorithm="dagger", horizon=8, seed=0, size=size))
    assert found["labels"] == 256
    assert found["costs"].shape == (32,)
    assert 0 <= found["costs"].min() <= found["costs"].max() <= 8
    assert 0 <= found["supervised_error"] < 0.5

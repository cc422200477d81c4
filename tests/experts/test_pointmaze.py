from typing import Any

import pytest

from distil.envs import GymEnvConfig, ImportEnvConfig, describe, make
from distil.errors import InputError
from distil.experts.pointmaze import MazePlanner
from distil.experts.scripted import ScriptedExpertConfig


def maze(**kwargs: Any) -> ImportEnvConfig:
    return ImportEnvConfig(target="distil.envs.pointmaze:PointMaze", kwargs=kwargs)


def mean_return(env: ImportEnvConfig, planner: Any, num: int = 10) -> tuple[float, bool]:
    """Return the mean return, and whether all episodes succeeded."""
    one, total, succeeded = make(env), 0.0, True
    for seed in range(num):
        place, _ = one.reset(seed=seed)
        truncated, info = False, {}
        while not truncated:
            place, reward, _, truncated, info = one.step(planner.act({"obs": place[None]}).actions[0])
            total += float(reward)
        succeeded &= info["is_success"]
    return total / num, succeeded


@pytest.mark.parametrize("gap", ["left", "right"])
@pytest.mark.parametrize("width", [0.5, 0.1, 1.2])
def test_it_goes_around_the_barrier(gap: str, width: float) -> None:
    env = maze(gap=gap, width=width)
    expert = ScriptedExpertConfig().build(env, describe(env))
    assert (expert.name, expert.stateful) == ("scripted pointmaze", False)
    value, succeeded = mean_return(env, expert)
    assert succeeded
    assert value > -20


def test_where_the_barrier_was_moved_it_does_not_get_by() -> None:
    value, _ = mean_return(maze(gap="right"), MazePlanner(maze(gap="left")))
    assert value < -40


def test_other_environments_are_refused() -> None:
    with pytest.raises(InputError, match=r"Pendulum-v1 is no distil.envs.pointmaze:PointMaze"):
        MazePlanner(GymEnvConfig(id="Pendulum-v1"))

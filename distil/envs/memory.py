"""Detects running statistics: kept across episodes, they make an episode depend on earlier ones and on N."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from distil.envs.faults import close_quietly
from distil.errors import InputError

_MOST_INSIDE = 100  # largest collection whose entries are inspected


def require_forgetful(env: Any) -> None:
    """Raise InputError if the environment or one of its wrappers updates running statistics (Gymnasium's or similar ones).

    Frozen statistics (`update_running_mean` False) are allowed.

    Args:
        env: a `gymnasium.Env` or `gymnasium.vector.VectorEnv`.
    """
    for layer in _layers(env):
        if any(_is_running(value) for value in vars(layer).values()) and getattr(layer, "update_running_mean", True):
            raise InputError(
                f"{type(layer).__name__} keeps running statistics across episodes: an episode would depend on earlier ones "
                "and on rollouts.num_envs: remove it (the policy normalises observations itself), or freeze its statistics"
            )


def _is_running(value: Any) -> bool:
    """Return whether a value is running statistics, or a small collection that contains some."""
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    values = [value, *inside[:_MOST_INSIDE]]
    return any(kind.__name__ == "RunningMeanStd" for each in values for kind in type(each).__mro__)


def _layers(env: Any) -> Iterator[Any]:
    """Yield the environment's wrappers, outermost first, then the environment; also those of a vector's first one."""
    yield env
    inside = vars(env).get("env")
    if isinstance(inside, gym.Env | gym.vector.VectorEnv):
        yield from _layers(inside)
    elif isinstance(env, SyncVectorEnv):
        yield from _layers(env.envs[0])
    elif isinstance(env, AsyncVectorEnv):  # its environments live in other processes
        other = env.env_fns[0]()
        try:
            yield from _layers(other)
        finally:
            close_quietly(other)

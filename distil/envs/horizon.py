"""An environment whose episodes all have the same length: their ends say nothing about how well the task was done."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from distil.errors import InputError


class FixedHorizon(gym.Wrapper):  # type: ignore[misc]
    """After the task's end nothing happens: the last observation stays, with reward 0, until the limit of time.

    Returns are those of the environment itself. In a recipe: `env: {id: CartPole-v1, wrappers: [{target:
    distil.envs.horizon:FixedHorizon}]}`.

    Args:
        env: with a limit of time.
        num_steps: of each episode; None: the environment's own limit.

    Raises:
        InputError: neither is given.
    """

    def __init__(self, env: Any, num_steps: int | None = None) -> None:
        super().__init__(env)
        limit = num_steps or (env.spec.max_episode_steps if env.spec is not None else None)
        if limit is None:
            raise InputError(f"FixedHorizon: {env} has no limit of time; set num_steps in the wrapper's kwargs")
        self._limit, self._num = limit, 0
        self._last: Any = None  # the observation that stays; None: the task has not ended

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        self._num, self._last = 0, None
        found: tuple[Any, dict[str, Any]] = super().reset(seed=seed, options=options)
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment, unless the task has ended."""
        self._num += 1
        is_last = self._num >= self._limit
        if self._last is not None:
            return self._last, 0.0, False, is_last, {}
        observation, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            self._last = observation
        return observation, reward, False, is_last, info

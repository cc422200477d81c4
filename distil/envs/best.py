"""An environment whose score is the best moment of an episode, such as PushT's published metric."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class BestSoFar(gym.Wrapper):  # type: ignore[misc]
    """The reward of a step is what it adds to the episode's best reward so far, from 0 on: the return is the best reward.

    In a recipe: `env: {id: ..., wrappers: [{target: "distil.envs.best:BestSoFar"}]}`.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._best = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        self._best = 0.0
        found: tuple[Any, dict[str, Any]] = super().reset(seed=seed, options=options)
        return found

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = super().step(action)
        before, self._best = self._best, max(self._best, float(reward))
        return observation, self._best - before, terminated, truncated, info

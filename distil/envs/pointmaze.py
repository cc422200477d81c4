"""A point maze whose barrier can be moved: the same goal, seen the same, reached by another way.

The task is after that of Fu et al. (2018), "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning"
(arXiv:1710.11248, section 7.2), without a simulator.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from distil.errors import InputError
from distil.types import Array

GOAL = (0.0, 0.7)
STEP = 0.1  # the longest way along x, and along y, in a step
NUM_STEPS = 100
NEAR = 0.1  # of the goal: success
_START = 0.9  # x and y at most: on both sides of the barrier, so that a learner finds out what is behind it
_BESIDE = 0.01  # from the barrier, at which the point comes to rest


class PointMaze(gym.Env):  # type: ignore[misc]
    """Observations are the point's position (x, y) in [-1, 1]; actions its change in a step, each in [-1, 1] times 0.1.

    The point starts anywhere. A barrier along y = 0 leaves a gap at one side; the goal is above it. The point does not pass
    the barrier, but slides along it. The reward is minus the distance to the goal after the step. Episodes have 100 steps and
    never terminate. `is_success`: the point is within 0.1 of the goal.

    Args:
        gap: the side of the gap, left or right.
        width: of the gap.

    Raises:
        InputError: there is no such side, or no such width.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, *, gap: str = "left", width: float = 0.5) -> None:
        if gap not in ("left", "right") or not 0 < width < 2:
            raise InputError(f"PointMaze: gap {gap!r}, width {width}: give left or right, and above 0 to below 2")
        self.barrier = (width - 1, 1.0) if gap == "left" else (-1.0, 1 - width)  # from x, to x
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self._place, self._num = (0.0, 0.0), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start anywhere."""
        super().reset(seed=seed)
        x, y = self.np_random.uniform(-_START, _START, 2).tolist()
        self._place, self._num = (x, y), 0
        return self._observation(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Move the point."""
        before, moves = self._place, [STEP * min(max(float(move), -1.0), 1.0) for move in action]
        x, y = (min(max(place + move, -1.0), 1.0) for place, move in zip(before, moves, strict=True))
        if (before[1] < 0) != (y < 0):
            crossing = before[0] + (x - before[0]) * before[1] / (before[1] - y)
            if self.barrier[0] <= crossing <= self.barrier[1]:
                y = math.copysign(_BESIDE, before[1])
        self._place, self._num = (x, y), self._num + 1
        distance = math.dist(self._place, GOAL)
        return self._observation(), -distance, False, self._num >= NUM_STEPS, {"is_success": distance < NEAR}

    def _observation(self) -> Array:
        return np.array(self._place, np.float32)

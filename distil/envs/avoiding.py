"""Avoiding: a point finds its way between six cylinders to a line behind them. There are 24 ways, all of them right.

The geometry is that of D3IL's task of the same name (Jia et al., 2024, "Towards Diverse Behaviors: A Benchmark for Imitation
Learning with Human Demonstrations", arXiv:2402.14606), whose robot's hand is a point here, moved without a simulator.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from distil.types import Array

START, FINISH_Y = (0.525, -0.28), 0.35  # m
ROWS = ((-0.1, (0.5,)), (0.08, (0.425, 0.575)), (0.26, (0.35, 0.5, 0.65)))  # y of a row, x of its cylinders, in m
RADIUS = 0.035  # m: at this distance from a cylinder's axis the point touches it
STEP = 0.01  # m: the longest way along x, and along y, in a step
NUM_WAYS = 24  # 2 * 3 * 4 gaps
_MOST_STEPS = 200
_SPREAD = 0.01  # m: of the start, on each side
_FIELD = np.array([[0.2, -0.35], [0.8, 0.4]])  # m
_AXES = np.array([[x, y] for y, row in ROWS for x in row])


class Avoiding(gym.Env):  # type: ignore[misc]
    """Observations are the point's position (x, y) in m; actions its change in a step, each in [-1, 1] times 1 cm.

    An episode ends behind the finish (reward 1, `is_success`), at a cylinder, or after 200 steps. The infos of each step have
    `way`: the number of the way that was taken so far, from 0 to 23, by the gaps gone through; -1 before the last row.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(_FIELD[0].astype(np.float32), _FIELD[1].astype(np.float32))
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self._place, self._gaps, self._num = np.zeros(2), list[int](), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start close to START."""
        super().reset(seed=seed)
        self._place = np.array(START) + self.np_random.uniform(-_SPREAD, _SPREAD, 2)
        self._gaps, self._num = [], 0
        return self._observation(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Move the point."""
        self._num += 1
        before = self._place
        self._place = np.clip(before + STEP * np.clip(action, -1, 1), *_FIELD)
        if len(self._gaps) < len(ROWS):
            y, row = ROWS[len(self._gaps)]
            if before[1] < y <= self._place[1]:
                self._gaps.append(int(np.searchsorted(row, self._place[0])))
        touches = bool((np.hypot(*(self._place - _AXES).T) < RADIUS).any())
        arrives = not touches and bool(self._place[1] >= FINISH_Y)
        info = {"way": way_of(self._gaps), "is_success": arrives}
        return self._observation(), float(arrives), touches or arrives, self._num >= _MOST_STEPS, info

    def _observation(self) -> Array:
        return self._place.astype(np.float32)


def way_of(gaps: list[int]) -> int:
    """Return the number of the way through these gaps, one a row, counted from the left; -1 if a row is still ahead."""
    return (gaps[0] * 3 + gaps[1]) * 4 + gaps[2] if len(gaps) == len(ROWS) else -1


def gaps_of(way: int) -> list[int]:
    """Return the gaps of a way: the inverse of `way_of`."""
    return [way // 12, way // 4 % 3, way % 4]

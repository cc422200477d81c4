"""A planner for `distil.envs.pointmaze`: through the gap, and then to the goal.

Legend: N environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.envs.config import GymEnvConfig, ImportEnvConfig, make
from distil.envs.pointmaze import GOAL, STEP, PointMaze
from distil.errors import InputError
from distil.experts.base import Stateless, every
from distil.types import Array, Labels, Observations

_CLEARANCE = 0.1  # from the barrier's end, at which the point passes
_AHEAD = 0.05  # above the barrier: the point that it steers at, until it is there


class MazePlanner(Stateless):
    """Goes straight, as fast as it can. Its actions are [N, 2] float32.

    Args:
        env: the maze, which tells where its barrier is.

    Raises:
        InputError: it is another environment.
    """

    name = "scripted pointmaze"
    by_row = True

    def __init__(self, env: GymEnvConfig | ImportEnvConfig) -> None:
        maze = make(env).unwrapped
        if not isinstance(maze, PointMaze):
            raise InputError(f"expert {self.name}: {env.name} is no distil.envs.pointmaze:PointMaze; choose another expert")
        low, high = maze.barrier
        passing = low - min(_CLEARANCE, (low + 1) / 2) if low > -1 else high + min(_CLEARANCE, (1 - high) / 2)
        self._gap_2 = np.array([passing, _AHEAD])
        self._barrier = maze.barrier

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the step of each point."""
        place_N2 = observations["obs"].astype(np.float64)
        is_below_N1 = place_N2[:, 1:] < 0
        way_N2 = np.where(is_below_N1, self._around(place_N2), np.array(GOAL)) - place_N2
        longest_N1 = np.abs(way_N2).max(-1, keepdims=True)
        actions_N2 = way_N2 / np.maximum(longest_N1, STEP)
        return Labels(actions=actions_N2.astype(np.float32), mask=every(len(place_N2)))

    def _around(self, place_N2: Array) -> Array:
        """Return what points below the barrier steer at, [N, 2]: the goal if it is in sight, else the gap."""
        goal_2 = np.array(GOAL)
        share_N = place_N2[:, 1] / (place_N2[:, 1] - goal_2[1])
        crossing_N = place_N2[:, 0] + (goal_2[0] - place_N2[:, 0]) * share_N
        is_open_N = (crossing_N < self._barrier[0]) | (crossing_N > self._barrier[1])
        return np.where(is_open_N[:, None], goal_2, self._gap_2)

"""A planner for `distil.envs.avoiding`: in each episode it takes one of the 24 ways, drawn from the episode's seed.

Legend: N environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.envs.avoiding import FINISH_Y, NUM_WAYS, ROWS, START, gaps_of
from distil.experts.base import every
from distil.seeding import generator
from distil.types import Array, Labels, Observations

_BESIDE = 0.04  # m before and after a row, the way is straight
_AHEAD = 0.02  # m along y: the point on the way that it steers at
_SPEED = 0.7  # of the largest one
_GAP = 0.15  # m from one cylinder of a row to the next, and so from one gap's middle to the next


class AvoidingPlanner:
    """Steers at the way that it has drawn for a slot's episode, from wherever the point is. Its actions are [N, 2] float32."""

    name = "scripted avoiding"
    needs_env = False
    stateful = True

    def __init__(self) -> None:
        self._paths: dict[int, Array] = {}  # slot -> the corners of its way, [corners, 2]

    def begin(self, slot: int, seed: int) -> None:
        """Draw the way of a new episode."""
        self._paths[slot] = path_of(int(generator(seed, "avoiding", "way").integers(NUM_WAYS)))

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the step of each slot: along the way, always equally long."""
        place_N2 = observations["obs"].astype(np.float64)
        aim_N = place_N2[:, 1] + _AHEAD
        x_N = [np.interp(aim, *self._path(slot).T[::-1]) for slot, aim in enumerate(aim_N)]
        way_N2 = np.stack([x_N, aim_N], 1) - place_N2
        actions_N2 = _SPEED * way_N2 / np.hypot(*way_N2.T)[:, None]
        return Labels(actions=actions_N2.astype(np.float32), mask=every(len(place_N2)))

    def _path(self, slot: int) -> Array:
        if slot not in self._paths:  # idle
            self.begin(slot, 0)
        return self._paths[slot]


def path_of(way: int) -> Array:
    """Return the corners of a way, [corners, 2] in m: through the middle of each gap, and straight on beside each row."""
    corners = [START]
    for gap, (y, row) in zip(gaps_of(way), ROWS, strict=True):
        middle = row[0] + _GAP * (gap - 0.5)
        corners += [(middle, y - _BESIDE), (middle, y + _BESIDE)]
    return np.array([*corners, (corners[-1][0], FINISH_Y + 2 * _AHEAD)])

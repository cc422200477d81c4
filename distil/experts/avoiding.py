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
_LOST = 0.035  # m beside its way: farther than the noise of the recipe's demonstrations ever leads the point
_GAP = 0.15  # m from one cylinder of a row to the next, and so from one gap's middle to the next


class AvoidingPlanner:
    """Steers along the way that it has drawn for a slot's episode. Its actions are [N, 2] float32.

    A point that is `_LOST` beside that way is another's, who has chosen: the planner goes on from there, through the nearest
    gap of the row ahead and the drawn ones of the rows behind it. Labels that lead back to the drawn way would say of each
    place that all ways are right there, and contradict the episode that they belong to.
    """

    name = "scripted avoiding"
    needs_env = False
    stateful = True

    def __init__(self) -> None:
        self._gaps: dict[int, list[int]] = {}  # slot -> those of its way
        self._corners: dict[int, Array] = {}  # slot -> the corners of its way, [corners, 2]

    def begin(self, slot: int, seed: int) -> None:
        """Draw the way of a new episode."""
        self.take(slot, int(generator(seed, "avoiding", "way").integers(NUM_WAYS)))

    def take(self, slot: int, way: int) -> None:
        """Begin an episode with a given way."""
        self._gaps[slot] = gaps_of(way)
        self._corners[slot] = corners_of(self._gaps[slot], START)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the step of each slot: along the way, always equally long."""
        place_N2 = observations["obs"].astype(np.float64)
        aim_N = place_N2[:, 1] + _AHEAD
        x_N = [self._x_at(slot, place, aim) for slot, (place, aim) in enumerate(zip(place_N2, aim_N, strict=True))]
        way_N2 = np.stack([x_N, aim_N], 1) - place_N2
        actions_N2 = _SPEED * way_N2 / np.hypot(*way_N2.T)[:, None]
        return Labels(actions=actions_N2.astype(np.float32), mask=every(len(place_N2)))

    def _x_at(self, slot: int, place_2: Array, y: float) -> float:
        """Return the x of the slot's way at `y`; a point that has left the way gets another."""
        if slot not in self._gaps:  # idle
            self.begin(slot, 0)
        if _distance(place_2, self._corners[slot]) > _LOST:
            ahead = next((row for row, (row_y, _) in enumerate(ROWS) if place_2[1] < row_y + _BESIDE), None)
            if ahead is not None:
                row = ROWS[ahead][1]
                self._gaps[slot][ahead] = int(np.clip(np.rint((place_2[0] - row[0]) / _GAP + 0.5), 0, len(row)))
            self._corners[slot] = corners_of(self._gaps[slot], (place_2[0], place_2[1]))
        return float(np.interp(y, *self._corners[slot].T[::-1]))


def _distance(place_2: Array, corners_C2: Array) -> float:
    """Return the distance of a place from a way, in m."""
    along_C2 = np.diff(corners_C2, axis=0)
    share_C = ((place_2 - corners_C2[:-1]) * along_C2).sum(1) / np.square(along_C2).sum(1)
    gaps_C2 = place_2 - corners_C2[:-1] - np.clip(share_C, 0, 1)[:, None] * along_C2
    return float(np.hypot(*gaps_C2.T).min())


def corners_of(gaps: Sequence[int], place: tuple[float, float]) -> Array:
    """Return the corners of a way from a place on, [corners, 2] in m: through the middle of gaps, straight beside rows."""
    corners = [place]
    for gap, (y, row) in zip(gaps, ROWS, strict=True):
        middle = row[0] + _GAP * (gap - 0.5)
        corners += [(middle, at) for at in (y - _BESIDE, y + _BESIDE) if at > place[1]]
    return np.array([*corners, (corners[-1][0], FINISH_Y + 2 * _AHEAD)])

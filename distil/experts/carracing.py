"""A driver for CarRacing that reads the track and the car out of the simulator: an expert for policies that see pixels only.

It steers at a point of the centre line some tiles ahead (pure pursuit: Coulter, CMU-RI-TR-92-01, 1992), and slows down for what
bends further ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.experts.base import Stateless, every
from distil.types import Array, Labels, Observations

_AIM = 6  # tiles ahead that it steers at; a tile is 3.5 m long
_LOOK = 14  # tiles ahead whose direction sets the speed
_GAIN = 3.0  # steering a radian
_FASTEST, _SLOWEST = 60.0, 28.0  # m/s
_CARE = 30.0  # m/s less a radian of bend


class CarRacingDriver(Stateless):
    """Drives along the centre line. Its actions [N, 3] float32 are CarRacing's: steering, gas, brake."""

    name = "scripted carracing"
    needs_env = True
    by_row = True

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return what to do in each of the `envs`, CarRacing's, wrapped or not."""
        assert envs is not None, "needs_env"
        return Labels(actions=np.stack([_drive(env.unwrapped) for env in envs]), mask=every(len(envs)))


def _drive(env: Any) -> Array:
    track_LX = np.asarray(env.track)  # L tiles: angle along the circle, heading, x, y
    hull = env.car.hull
    x, y = hull.position
    tile = int(np.argmin((track_LX[:, 2] - x) ** 2 + (track_LX[:, 3] - y) ** 2))

    def ahead(tiles: int) -> Array:
        row_X: Array = track_LX[(tile + tiles) % len(track_LX)]
        return row_X

    aim, forward = ahead(_AIM), hull.GetWorldVector((0, 1))
    dx, dy = aim[2] - x, aim[3] - y
    to_the_left = math.atan2(forward[0] * dy - forward[1] * dx, forward[0] * dx + forward[1] * dy)
    bend = abs(math.remainder(ahead(_LOOK)[1] - ahead(1)[1], 2 * math.pi))
    lacking = min(max(_FASTEST - _CARE * bend, _SLOWEST), _FASTEST) - math.hypot(*hull.linearVelocity)
    steering = min(max(-_GAIN * to_the_left, -1.0), 1.0)
    most = 0.3 if abs(steering) > 0.7 else 1.0  # wheels that turn far and push hard slide
    return np.array([steering, min(max(0.1 * lacking, 0.0), most), min(max(-0.03 * lacking, 0.0), 0.6)], np.float32)

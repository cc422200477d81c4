"""PushT with the T's corners as observations: `wrappers: [{target: "distil.envs.pusht:Corners"}]` on gym_pusht's environment.

A circle pushes a T to its goal in the plane (Florence et al., 2021, "Implicit Behavioral Cloning", arXiv:2109.00137; Chi et
al., 2023, "Diffusion Policy", arXiv:2303.04137). Its state has the T's angle, which jumps at 2 pi; the corners don't. They are
computed from the state alone, so `corners` also makes the observations of demonstrations that hold states.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from distil.types import Array

_BAR = [(-60, 0), (60, 0), (60, 30), (-60, 30)]  # px, as seen from the T's position at angle 0
_STEM = [(-15, 30), (15, 30), (15, 120), (-15, 120)]
_CORNERS = np.array(_BAR + _STEM, np.float64)


def corners(state: Array) -> Array:
    """Return the circle's place and the T's eight corners: [..., 18] float32, all in px.

    Args:
        state: [..., 5]: x and y of the circle, x and y of the T in px, the T's angle in rad.
    """
    place, angle = np.asarray(state, np.float64), np.asarray(state, np.float64)[..., 4, None]
    cos, sin, x, y = np.cos(angle), np.sin(angle), *_CORNERS.T
    points = np.stack([cos * x - sin * y, sin * x + cos * y], -1) + place[..., None, 2:4]
    return np.concatenate([place[..., :2], points.reshape(*points.shape[:-2], -1)], -1).astype(np.float32)


class Corners(gym.ObservationWrapper):  # type: ignore[misc]
    """PushT whose observations are those of `corners`."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2 + _CORNERS.size,), np.float32)

    def observation(self, observation: Array) -> Array:
        """Return the corners of a state."""
        return corners(observation)

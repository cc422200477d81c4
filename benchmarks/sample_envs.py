"""A family of control tasks with three knobs that vary one at a time: state dimension, complexity, horizon.

A car drives along a track with a ditch on either side. Its position y across the track is unstable, and a force that depends on
the rest of the state acts on it:

    y' = GROWTH y + u + force(s) + wind,        s' = MEMORY s + noise, normalised to unit variance, s in R^(d - 1)

force(s) = sin(complexity * q . s), q = (1, .., 1) / sqrt(d - 1). The observation is a fixed rotation of (y, s), so each of its
d entries is needed. The law of y and of q . s is the same for every d: more dimensions change what must be learned, not how
hard it is to stay on the track. The expert cancels the force and steers to the middle; in the ditch, |y| > 1, where each step
costs 1 and the slope pulls outwards to a wall, it steers hard. The wind alone never takes it there, so its cost is 0, and its
demonstrations never show how to recover. The reward is minus the cost; an episode always takes `horizon` steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Step = tuple[Array, float, bool, bool, dict[str, Any]]


class Track(gym.Env[Array, Array]):  # type: ignore[misc]
    """See above.

    Args:
        dimension: of the state, d; at least 2.
        complexity: frequency of the force, in radians a standard deviation of its argument.
        horizon: steps of an episode.
    """

    GROWTH, STEERING = 1.2, 0.7  # y' is 0.5 y where the expert drives
    EDGE, WALL, SLOPE, CLIMB = 1.0, 1.5, 1.5, 3.0  # normal steering cannot leave the ditch; the expert's can
    MEMORY, WIND = 0.5, 0.3  # of s from step to step; the wind is uniform within +-WIND
    LIMIT = 5.0  # of u

    def __init__(self, dimension: int, complexity: float, horizon: int) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (dimension,), np.float32)
        self.action_space = gym.spaces.Box(-self.LIMIT, self.LIMIT, (1,), np.float32)
        self._knobs = (dimension, round(1000 * complexity), horizon)
        self._complexity, self._horizon = complexity, horizon
        self._rotation = np.linalg.qr(np.random.default_rng(dimension).standard_normal((dimension, dimension)))[0]
        self._t, self._y = 0, 0.0
        self._force = self._wind = [0.0] * (horizon + 1)
        self._signals = np.zeros((horizon + 1, dimension))  # what s contributes to the observation

    @property
    def right_action(self) -> tuple[float]:
        """Return the expert's action: cancel the force and steer to the middle; hard, if in the ditch."""
        if abs(self._y) > self.EDGE:
            return (-self._force[self._t] - math.copysign(self.CLIMB, self._y),)
        return (-self._force[self._t] - self.STEERING * self._y,)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start somewhere on the track."""
        super().reset(seed=seed)
        rng = np.random.default_rng((*self._knobs, seed)) if seed is not None else self.np_random
        num_steps, width = self._horizon + 1, len(self._rotation) - 1
        noise = rng.standard_normal((num_steps, width))
        signals = np.empty_like(noise)
        signals[0] = noise[0]
        fresh = math.sqrt(1 - self.MEMORY**2)
        for t in range(1, num_steps):
            signals[t] = self.MEMORY * signals[t - 1] + fresh * noise[t]
        self._force = np.sin(self._complexity * signals.sum(1) / math.sqrt(width)).tolist()
        self._signals = signals @ self._rotation[:, 1:].T
        self._wind = (self.WIND * rng.uniform(-1, 1, num_steps)).tolist()
        self._t, self._y = 0, float(rng.uniform(-0.6, 0.6))
        return self._observe(), {}

    def step(self, action: Array) -> Step:
        """Drive one step."""
        y = self._y
        slope = math.copysign(self.SLOPE, y) if abs(y) > self.EDGE else 0.0
        y = self.GROWTH * y + float(action[0]) + self._force[self._t] + self._wind[self._t] + slope
        self._y = min(max(y, -self.WALL), self.WALL)
        self._t += 1
        return self._observe(), -float(abs(self._y) > self.EDGE), False, self._t >= self._horizon, {}

    def _observe(self) -> Array:
        return (self._signals[self._t] + self._rotation[:, 0] * self._y).astype(np.float32)


class RightAction:
    """The expert: reads the simulator's state."""

    needs_env = True

    def act(self, observations: Array, envs: Sequence[Any]) -> Array:
        """Return the right actions in the environments."""
        return np.array([env.right_action for env in envs])

"""Two environments in which one mistake can cost the rest of the episode, and their experts, which make none.

In both, the learner observes the expert's input (the simulator's state) through a sensor with independent noise at each step.
On the expert's own path, the learner therefore errs at a rate that no amount of data removes and that does not depend on the
horizon: the premise of Ross and Bagnell (2010), theorem 2.1. A step off the path costs 1, the reward is minus the cost, an
episode always takes `horizon` steps, and the expert's cost is 0. Only the expert knows how to return to the path, and its
demonstrations never show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Step = tuple[Array, float, bool, bool, dict[str, Any]]


class Cliff(gym.Env[Array, np.int64]):  # type: ignore[misc]
    """A path along a cliff: each step requires the correct side (0 or 1); a wrong action is a fall.

    Below the cliff each step costs 1 and the sides have no meaning; only action 2 (climb) leads back to the path, immediately.
    On the path, climbing is wrong too. Observation: the sensor's reading (-1 or 1, plus noise), and whether the learner has
    fallen. Errors at rate eps cost T - sum_t (1 - eps)^t, about eps T^2 / 2, without correction, and eps T if corrected
    immediately.
    """

    NOISE = 0.375  # the best guess from a reading errs with chance Phi(-1 / 0.375) = 0.0038

    def __init__(self, horizon: int) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(3)
        self._horizon, self._t, self._fallen = horizon, 0, False
        self._sides, self._readings = [0] * (horizon + 1), [0.0] * (horizon + 1)

    @property
    def right_action(self) -> int:
        """Return the expert's action: climb, or the correct side."""
        return 2 if self._fallen else self._sides[self._t]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start on the path."""
        super().reset(seed=seed)
        rng = _generator(self, self._horizon, seed)
        sides = rng.integers(2, size=self._horizon + 1)
        self._sides = sides.tolist()
        self._readings = (2.0 * sides - 1.0 + self.NOISE * rng.standard_normal(self._horizon + 1)).tolist()
        self._t, self._fallen = 0, False
        return self._observe(), {}

    def step(self, action: np.int64) -> Step:
        """Stay on the path, fall, or climb back."""
        self._fallen = int(action) != self.right_action
        self._t += 1
        return self._observe(), -float(self._fallen), False, self._t >= self._horizon, {}

    def _observe(self) -> Array:
        return np.array((self._readings[self._t], self._fallen), np.float32)


class Lane(gym.Env[Array, Array]):  # type: ignore[misc]
    """A car (a double integrator) that must stay within 1 of the middle of a curved lane, in wind, with a ditch on either side.

    v' = v + dt (u + curve + wind), y' = y + dt v'. In the ditch, |y| > 1, each step costs 1 and the slope pulls outwards, to a
    wall, with more force than the steering that keeps a car in the lane; the expert then steers hard. Observation: y, v, and
    the curve through the sensor. The expert sees the curve itself, and the wind alone never takes it out of the lane.
    """

    DT, EDGE, WALL = 0.5, 1.0, 1.5
    SLOPE, CLIMB, LIMIT = 4.0, 7.0, 12.0  # accelerations: of the ditch, of the expert in it, the largest possible
    STIFFNESS, DAMPING = 1.0, 1.4  # of the expert's steering in the lane
    CURVE, NOISE, WIND = 1.0, 0.577, 1.0  # deviations of curve and sensor; the wind is uniform within +-WIND
    START = 0.5  # y and v start uniformly within +-START, about the range that a learner visits

    def __init__(self, horizon: int) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gym.spaces.Box(-self.LIMIT, self.LIMIT, (1,), np.float32)
        self._horizon, self._t, self._y, self._v = horizon, 0, 0.0, 0.0
        self._curve = self._seen = self._wind = [0.0] * (horizon + 1)

    @property
    def right_action(self) -> tuple[float]:
        """Return the expert's action: cancel the curve and steer to the middle; hard, if in the ditch."""
        if abs(self._y) > self.EDGE:
            return (-self._curve[self._t] - float(np.sign(self._y)) * self.CLIMB,)
        return (-self._curve[self._t] - self.STIFFNESS * self._y - self.DAMPING * self._v,)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start near the middle."""
        super().reset(seed=seed)
        rng = _generator(self, self._horizon, seed)
        noise = rng.standard_normal((2, self._horizon + 1))
        self._curve = (self.CURVE * noise[0]).tolist()
        self._seen = (self.CURVE * noise[0] + self.NOISE * noise[1]).tolist()
        self._wind = (self.WIND * rng.uniform(-1, 1, self._horizon + 1)).tolist()
        self._t, (self._y, self._v) = 0, (self.START * rng.uniform(-1, 1, 2)).tolist()
        return self._observe(), {}

    def step(self, action: Array) -> Step:
        """Drive one step."""
        force = float(action[0]) + self._curve[self._t] + self._wind[self._t]
        if abs(self._y) > self.EDGE:
            force += self.SLOPE if self._y > 0 else -self.SLOPE
        self._v += self.DT * force
        self._y += self.DT * self._v
        if abs(self._y) > self.WALL:
            self._y, self._v = (self.WALL if self._y > 0 else -self.WALL), 0.0
        self._t += 1
        return self._observe(), -float(abs(self._y) > self.EDGE), False, self._t >= self._horizon, {}

    def _observe(self) -> Array:
        return np.array((self._y, self._v, self._seen[self._t]), np.float32)


class RightAction:
    """The expert of both: reads the simulator's state."""

    needs_env = True

    def act(self, observations: Array, envs: Sequence[Any]) -> Array:
        """Return the right actions in the environments."""
        return np.array([env.right_action for env in envs])


def expert_steps(env: Cliff | Lane, num_episodes: int) -> tuple[Array, Array]:
    """Return the learner's observations and the expert's actions on the expert's path: the truth for supervised errors."""
    observations, actions = [], []
    for seed in range(num_episodes):
        observation, _ = env.reset(seed=seed)
        done = False
        while not done:
            action = env.right_action
            observations.append(observation)
            actions.append(action)
            observation, _, _, done, _ = env.step(np.asarray(action))  # type: ignore[arg-type]
    return np.array(observations), np.array(actions)


def _generator(env: gym.Env[Any, Any], horizon: int, seed: int | None) -> np.random.Generator:
    """Return the episode's stream; episodes of other horizons with the same seed are independent."""
    return np.random.default_rng((horizon, seed)) if seed is not None else env.np_random

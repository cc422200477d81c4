"""CartPole over all slots at once, in numpy: the episodes of Gymnasium's single environment, bit by bit.

Equations of motion: Florian (2007), "Correct equations for the dynamics of the cart-pole system", eqs. 23-24 without friction,
as Gymnasium's `CartPoleEnv` integrates them. The order of the operations is the same, so the results are.
Legend: N slots; a state is x, x', theta, theta' in m, m/s, rad, rad/s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.envs.config import GymEnvConfig
from distil.envs.slots import StepResult
from distil.envs.uniforms import first_uniform
from distil.types import Array

_LIMITS = {"CartPole-v0": 200, "CartPole-v1": 500}  # time limits of the registry, in steps
_GRAVITY, _POLE_MASS, _POLE_LENGTH, _TAU_S = 9.8, 0.1, 0.5, 0.02  # the length is half the pole's
_TOTAL_MASS = _POLE_MASS + 1.0
_POLE_MOMENT = _POLE_MASS * _POLE_LENGTH
_FORCES = np.array([-10.0, 10.0])
_BOUNDS = np.array([[2.4], [12 * 2 * math.pi / 360]])  # |x|, |theta| beyond which an episode terminates


class CartPoleSlots:
    """CartPole environments that give the same episodes, seed by seed, as single ones do."""

    resets_together = False
    envs: Sequence[Any] | None = None

    @staticmethod
    def serves(config: GymEnvConfig) -> bool:
        """Whether `config` is a plain CartPole."""
        return config.id in _LIMITS and not config.wrappers and not config.kwargs

    def __init__(self, config: GymEnvConfig, num: int) -> None:
        self.num_slots = num
        self._limit = config.max_episode_steps or _LIMITS[config.id]
        self._state_4N = np.zeros((4, num))
        self._steps = np.zeros(num, np.int64)
        self._ones = np.ones(num)
        self._first: dict[int, Array] = {}  # seed -> state

    def prepare(self, seeds: Sequence[int]) -> None:
        """Compute the first states of these seeds together."""
        self._first = dict(zip(seeds, first_uniform(seeds, -0.05, 0.05, 4), strict=True))

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> dict[str, Array]:
        """Start episodes; return the first observations, leaf -> [K, ...]."""
        if not self._first.keys() >= set(seeds):
            self.prepare(seeds)
        first, rows = np.array([self._first[seed] for seed in seeds]), list(slots)
        self._state_4N[:, rows] = first.T
        self._steps[rows] = 0
        return {"obs": first.astype(np.float32)}

    def step(self, actions: Array, active: Array) -> StepResult:
        """Step the slots where `active` [N] bool; `actions` [N] are 0 or 1."""
        state = self._state_4N
        theta, theta_dot = state[2], state[3]
        cos, sin = np.cos(theta), np.sin(theta)
        temp = (_FORCES[actions] + _POLE_MOMENT * np.square(theta_dot) * sin) / _TOTAL_MASS
        theta_acc = (_GRAVITY * sin - cos * temp) / (_POLE_LENGTH * (4.0 / 3.0 - _POLE_MASS * np.square(cos) / _TOTAL_MASS))
        x_acc = temp - _POLE_MOMENT * theta_acc * cos / _TOTAL_MASS
        state[0::2] += _TAU_S * state[1::2]  # positions first, from the old velocities
        state[1] += _TAU_S * x_acc
        state[3] += _TAU_S * theta_acc
        self._steps += 1
        if not active.all():
            state[:, ~active] = 0.0  # idle poles would fall to infinity
        outside = np.abs(state[0::2]) > _BOUNDS  # [2, N]
        return StepResult(
            observations={"obs": state.T.astype(np.float32, order="C")},
            rewards=self._ones.copy(),
            terminated=outside[0] | outside[1],
            truncated=self._steps >= self._limit,
            infos=None,
        )

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

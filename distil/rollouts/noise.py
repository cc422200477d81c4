"""Noise on the actions that an expert executes; each episode has its own random stream. Legend: N slots."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from distil.draws import STEPS, SlotDraws
from distil.errors import InputError
from distil.experts.random import sample
from distil.rollouts.config import NoiseConfig
from distil.spaces import Leaf
from distil.types import Array


class Noise(Protocol):
    """Noise from one random stream per episode."""

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of a new episode in row `slot`."""

    def apply(self, actions: Array) -> tuple[Array, Array]:
        """Return the noisy actions [N, ...], and [N] bool which of them replace the original completely."""


def make_noise(config: NoiseConfig, action: Leaf, num_envs: int) -> Noise | None:
    """Return the noise of `config`; InputError if it doesn't fit the action space."""
    if config.kind == "none":
        return None
    if config.kind == "epsilon":
        if isinstance(config.level, tuple) or config.level > 1:
            raise InputError(f"noise.level is {config.level}: with kind epsilon it must be one probability, at most 1")
        return EpsilonNoise(config.level, action, num_envs)
    if action.kind != "box" or np.dtype(action.dtype).kind != "f":
        raise InputError(f"noise.kind gaussian needs continuous actions, this space is {action.kind}: set noise.kind=epsilon")
    if isinstance(config.level, tuple) and len(config.level) != math.prod(action.shape):
        num = math.prod(action.shape)
        raise InputError(
            f"noise.level has {len(config.level)} numbers and the action {num}: give one, or one for each dimension"
        )
    level = np.reshape(config.level, action.shape) if isinstance(config.level, tuple) else config.level
    return GaussianNoise(level, action, num_envs)


class GaussianNoise:
    """Adds normal noise and clips to the bounds. A dimension without finite bounds has half range 1.

    Args:
        level: standard deviation in half ranges, one for all or an array of the action's shape.
        action: its space.
        num_envs: slots.
    """

    def __init__(self, level: float | Array, action: Leaf, num_envs: int) -> None:
        low, high = action.bounds()
        finite = np.isfinite(low) & np.isfinite(high)
        std = level * np.where(finite, np.where(finite, high, 1.0) - np.where(finite, low, -1.0), 2.0) / 2
        self._low, self._high, self._dtype = low.astype(action.dtype), high.astype(action.dtype), np.dtype(action.dtype)
        self._stream = SlotDraws(lambda rng: std * rng.standard_normal((STEPS, *action.shape)), num_envs, "noise")
        self._none = np.zeros(num_envs, np.bool_)

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of a new episode in row `slot`."""
        self._stream.begin(slot, seed)

    def apply(self, actions: Array) -> tuple[Array, Array]:
        """Return the noisy actions [N, ...]; none of them is replaced."""
        noised = (actions + self._stream.take()).astype(self._dtype)
        return np.clip(noised, self._low, self._high), self._none


class EpsilonNoise:
    """Replaces the action by a uniformly random one, with a fixed probability at each step."""

    def __init__(self, level: float, action: Leaf, num_envs: int) -> None:
        self._chance = level
        self._coins = SlotDraws(lambda rng: rng.random(STEPS), num_envs, "epsilon", idle=1.0)
        self._others = SlotDraws(lambda rng: sample(action, STEPS, rng), num_envs, "epsilon-action", idle=action.start)

    def begin(self, slot: int, seed: int) -> None:
        """Start the streams of a new episode in row `slot`."""
        self._coins.begin(slot, seed)
        self._others.begin(slot, seed)

    def apply(self, actions: Array) -> tuple[Array, Array]:
        """Return the noisy actions [N, ...], and which of them were replaced."""
        replaced = self._coins.take() < self._chance
        others = self._others.take()
        return np.where(replaced.reshape(-1, *[1] * (actions.ndim - 1)), others, actions), replaced

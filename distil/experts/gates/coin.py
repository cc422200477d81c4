"""The gate of DAgger itself: the expert acts by chance beta, drawn for each step, and labels every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distil import seeding
from distil.experts.gates.base import Choice, Situation
from distil.spaces import Leaf
from distil.types import Array

_BLOCK = 128  # coins drawn at a time


@dataclass(frozen=True, kw_only=True)
class CoinPlan:
    """Chance `beta` at each step; 0: the expert only labels."""

    beta: float
    labels_all = True
    needs_expert = True

    def build(self, num_envs: int, action: Leaf) -> CoinGate:
        """Return the gate."""
        return CoinGate(self.beta, num_envs)


class CoinGate:
    """Asks at every step. Where the expert has no answer, the policy acts."""

    def __init__(self, beta: float, num_envs: int) -> None:
        self._beta = beta
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._coins = np.ones((num_envs, _BLOCK))
        self._at = np.zeros(num_envs, np.int64)
        self._rows = np.arange(num_envs)
        self._all = np.ones(num_envs, np.bool_)

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of a new episode in row `slot`."""
        self._rngs[slot] = seeding.generator(seed, "beta")
        self._at[slot] = _BLOCK

    def choose(self, now: Situation) -> Choice:
        """Return who acts: the expert where the coin says so."""
        labels = now.ask(self._all)
        return Choice(expert_acts=(self._next() < self._beta) & labels.mask, labels=labels)

    def _next(self) -> Array:
        for slot in np.flatnonzero(self._at == _BLOCK):
            rng = self._rngs[slot]
            self._coins[slot] = 1.0 if rng is None else rng.random(_BLOCK)
            self._at[slot] = 0
        out: Array = self._coins[self._rows, self._at]
        self._at += 1
        return out

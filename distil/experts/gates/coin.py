"""DAgger's own gate: the expert acts with probability beta, drawn at each step, and labels every step (arXiv:1011.0686)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distil.draws import STEPS, SlotDraws
from distil.experts.gates.base import Choice, Situation
from distil.spaces import Leaf


@dataclass(frozen=True, kw_only=True)
class CoinPlan:
    """Probability `beta` at each step; 0: the expert only labels."""

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
        self._coins = SlotDraws(lambda rng: rng.random(STEPS), num_envs, "beta", idle=1.0)
        self._all = np.ones(num_envs, np.bool_)

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of a new episode in row `slot`."""
        self._coins.begin(slot, seed)

    def choose(self, now: Situation) -> Choice:
        """Return who acts: the expert where a draw is below beta."""
        labels = now.ask(self._all)
        return Choice(expert_acts=(self._coins.take() < self._beta) & labels.mask, labels=labels)

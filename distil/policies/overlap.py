"""Temporal ensembling: the average of what overlapping plans say about a step, in numpy (no torch).

A plan is made at every step, and each one that reaches as far as a step has a prediction for it. Their average has the weights
w_i = exp(-decay i), i = 0 for the oldest plan (Zhao et al., 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost
Hardware", arXiv:2304.13705, section IV-C and algorithm 2).

Legend: N slots, T action chunk, A action dimension.
"""

from __future__ import annotations

import math

import numpy as np

from distil.types import Array


class Overlap:
    """The sums over the plans of each slot's episode so far, for the steps from the current one on.

    Plans reach a step in the order of their age, so that nothing but sums is kept.

    Args:
        num_slots: N.
        chunk: T.
        decay: of the weight, from a plan to the next newer one.
    """

    def __init__(self, num_slots: int, chunk: int, decay: float) -> None:
        self._factor = np.float32(math.exp(-decay))
        self._sums: Array | None = None  # [N, T, A] of weight times prediction
        self._weights = np.zeros((num_slots, chunk, 1), np.float32)  # summed up
        self._next = np.ones((num_slots, chunk, 1), np.float32)  # weight of the next plan for a step

    def begin(self, slot: int) -> None:
        """Forget the plans of the slot's last episode."""
        if self._sums is not None:
            self._sums[slot] = 0
        self._weights[slot], self._next[slot] = 0, 1

    def average(self, plans: Array) -> Array:
        """Return the actions of the current step, a new array [N, A], given the plans [N, T, A] made at it."""
        if self._sums is None:
            self._sums = np.zeros(plans.shape, np.float32)
        self._sums += self._next * plans
        self._weights += self._next
        self._next *= self._factor
        actions: Array = self._sums[:, 0] / self._weights[:, 0]
        for values, end in ((self._sums, 0), (self._weights, 0), (self._next, 1)):
            values[:, :-1] = values[:, 1:]
            values[:, -1] = end
        return actions

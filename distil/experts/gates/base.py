"""What a gate is: a strategy that decides, at every step and for all N slots at once, who acts and who is asked.

Discrepancies are in half action ranges: 0 where policy and expert agree, 2 between the two ends of a bounded space. Where
actions are choices, it is the share of choices that differ.

Legend: N slots, A action dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a gate decides by."""

    observations: Observations  # leaf name -> [N, ...]
    actions: Array  # [N, ...] the policy's, in the environment's action space
    doubt: Array | None  # [N] disagreement of the policy's members; None: it isn't an ensemble
    ask: Callable[[Array], Labels]  # rows [N] bool -> the expert's labels; its mask is False elsewhere


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What it decided."""

    expert_acts: Array  # [N] bool, only where there is a label
    labels: Labels  # whose mask says which steps are labelled


class Gate(Protocol):
    """Decides. What it does in an episode depends on the episode only, not on the slot or the other ones."""

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""

    def choose(self, now: Situation) -> Choice:
        """Return who acts and what was asked."""


class GatePlan(Protocol):
    """A gate as plain data: shipped to the workers, which build it."""

    @property
    def labels_all(self) -> bool:
        """Whether the expert is asked at every step."""

    @property
    def needs_expert(self) -> bool:
        """Whether the run's expert is asked at all."""

    def build(self, num_envs: int, action: Leaf) -> Gate:
        """Return the gate for `num_envs` slots; InputError if it can't work here."""


class Discrepancy:
    """How far actions are apart, [N].

    Args:
        action: the action space.
    """

    def __init__(self, action: Leaf) -> None:
        self._scale: Array | None = None
        if action.kind == "box":
            low, high = action.bounds()
            half = (high - low) / 2
            self._scale = np.where(np.isfinite(half) & (half > 0), half, 1.0)

    def __call__(self, first: Array, second: Array) -> Array:
        """Return the mean over A of the distances between actions [N, ...]."""
        if self._scale is None:
            apart = (first != second).astype(np.float64)
        else:
            apart = np.abs(first.astype(np.float64) - second.astype(np.float64)) / self._scale
        out: Array = apart.reshape(len(first), -1).mean(axis=1)
        return out

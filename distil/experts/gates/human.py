"""HG-DAgger: somebody outside watches, takes over when they like, and gives back (Kelly et al., 2019, arXiv:1810.02890).

Only the steps where they act are labelled, with what they did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from distil.config import import_target
from distil.errors import InputError, RunError
from distil.experts.gates.base import Choice, Situation
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


class Intervener(Protocol):
    """Whoever may take over: a person at a device, or a program."""

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""

    def intervene(self, observations: Observations, actions: Array) -> Labels:
        """Return what is done instead; its mask says in which rows.

        Args:
            observations: leaf name -> [N, ...].
            actions: [N, ...] what the policy is about to do.
        """


@dataclass(frozen=True, kw_only=True)
class HumanPlan:
    """An intervener as data: `make(num_envs, action)` returns it, in the worker."""

    make: Callable[[int, Leaf], Intervener]
    labels_all = False
    needs_expert = False

    def build(self, num_envs: int, action: Leaf) -> HumanGate:
        """Return the gate; InputError if the intervener can't be made."""
        return HumanGate(self.make(num_envs, action), action)


class HumanGate:
    """The intervener acts where it says so."""

    def __init__(self, intervener: Intervener, action: Leaf) -> None:
        self._intervener, self._action = intervener, action

    def begin(self, slot: int, seed: int) -> None:
        """Tell the intervener."""
        self._intervener.begin(slot, seed)

    def choose(self, now: Situation) -> Choice:
        """Return who acts; RunError if the answers have another shape than the actions."""
        labels = self._intervener.intervene(now.observations, now.actions)
        if labels.actions.shape != now.actions.shape or labels.mask.shape != now.actions.shape[:1]:
            raise RunError(
                f"the intervener returned actions of shape {labels.actions.shape} and a mask of shape {labels.mask.shape}, "
                f"wanted {now.actions.shape} and {now.actions.shape[:1]}: mend it"
            )
        actions = labels.actions.astype(now.actions.dtype)
        if self._action.kind == "box":
            low, high = self._action.bounds()
            actions = np.clip(actions, low, high).astype(now.actions.dtype)
        return Choice(expert_acts=labels.mask, labels=Labels(actions=actions, mask=labels.mask))


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Makes the user's intervener: `target(num_envs=..., **kwargs)`."""

    target: str
    kwargs: dict[str, Any]

    def __call__(self, num_envs: int, action: Leaf) -> Intervener:
        """Return it; InputError if the target is missing, can't be made or can't intervene."""
        make: Any = import_target(self.target, "intervener")
        try:
            intervener: Any = make(num_envs=num_envs, **self.kwargs)
        except TypeError as error:
            raise InputError(f"intervener {self.target}: {error}; it is called with num_envs and its kwargs") from None
        if not callable(getattr(intervener, "intervene", None)) or not callable(getattr(intervener, "begin", None)):
            raise InputError(f"intervener {self.target}: it has no begin(slot, seed) and intervene(observations, actions)")
        out: Intervener = intervener
        return out

"""HG-DAgger: somebody outside watches, takes over when they like, and gives back (Kelly et al., 2019, arXiv:1810.02890).

Only the steps where they act are labelled, with what they did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from distil.config import import_target
from distil.errors import InputError, RunError
from distil.experts.base import Checked, Stateless
from distil.experts.gates.base import Choice, Situation
from distil.spaces import Leaf, SpaceSpec
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


class Maker(Protocol):
    """Makes the intervener, in the worker; plain data."""

    def check(self, action: Leaf) -> None:
        """Raise InputError for what is known to be wrong before there are environments."""

    def __call__(self, num_envs: int, action: Leaf) -> Intervener:
        """Return it; InputError if it can't be made."""


@dataclass(frozen=True, kw_only=True)
class HumanPlan:
    """An intervener as data."""

    make: Maker
    labels_all = False
    needs_expert = False

    def build(self, num_envs: int, action: Leaf) -> HumanGate:
        """Return the gate; InputError if the intervener can't be made."""
        return HumanGate(self.make(num_envs, action), action)


class HumanGate:
    """The intervener acts where it says so."""

    def __init__(self, intervener: Intervener, action: Leaf) -> None:
        self._intervener, self._answer = intervener, _Answer()
        self._checked = Checked(self._answer, SpaceSpec(tree=action.name, leaves=(action,)))

    def begin(self, slot: int, seed: int) -> None:
        """Tell the intervener."""
        self._intervener.begin(slot, seed)

    def choose(self, now: Situation) -> Choice:
        """Return who acts.

        Raises:
            RunError: an answer is of the wrong shape or type, NaN, or no choice of a discrete space.
        """
        seen = {name: values.copy() for name, values in now.observations.items()}  # theirs to change
        answer: Any = self._intervener.intervene(seen, now.actions.copy())
        if not isinstance(answer, Labels):
            raise RunError(f"the intervener returned {type(answer).__name__}, wanted distil.types.Labels: fix it")
        self._answer.labels = Labels(actions=np.asarray(answer.actions), mask=np.asarray(answer.mask))
        labels = self._checked.act(now.observations)
        return Choice(expert_acts=labels.mask, labels=labels)


class _Answer(Stateless):
    """What the intervener has just answered, as an expert's answer, to be checked as one."""

    name = "intervener"

    def __init__(self) -> None:
        self.labels: Labels | None = None

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        assert self.labels is not None
        return self.labels


@dataclass(frozen=True, kw_only=True)
class ImportedIntervener:
    """Makes the user's intervener: `target(num_envs=..., **kwargs)`."""

    target: str
    kwargs: dict[str, Any]

    def check(self, action: Leaf) -> None:
        """Raise InputError if the target is missing."""
        import_target(self.target, "intervener")

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

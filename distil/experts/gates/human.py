"""HG-DAgger: a person or program watches and takes over control when it likes (Kelly et al., 2019, arXiv:1810.02890).

Only the steps in which it acts are labelled, with its actions.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from distil.config import Config, import_target
from distil.errors import InputError, RunError
from distil.experts.base import Checked, Stateless
from distil.experts.gates.base import Choice, Situation
from distil.spaces import Leaf, SpaceSpec
from distil.types import Array, Labels, Observations

_METHODS = {"begin": "begin(slot, seed)", "intervene": "intervene(observations, actions)"}


class Intervener(Protocol):
    """A person at a device, or a program, that may take over."""

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""

    def intervene(self, observations: Observations, actions: Array) -> Labels:
        """Return the actions to take instead of the policy's; the mask says in which rows.

        Args:
            observations: leaf name -> [N, ...].
            actions: [N, ...] that the policy is about to take.
        """


class IntervenerConfig(Protocol):
    """An intervener as plain data."""

    @property
    def needs_window(self) -> bool:
        """Whether it watches the environment's own window."""

    def check(self, action: Leaf) -> None:
        """Raise InputError for what is known to be wrong before there are environments."""

    def build(self, num_envs: int, action: Leaf) -> Intervener:
        """Return the intervener; InputError if it can't be made."""


@dataclass(frozen=True, kw_only=True)
class HumanPlan:
    """The gate as data."""

    intervener: IntervenerConfig
    labels_all = False
    needs_expert = False

    def build(self, num_envs: int, action: Leaf) -> HumanGate:
        """Return the gate; InputError if the intervener can't be made."""
        return HumanGate(self.intervener.build(num_envs, action), action)


class HumanGate:
    """The intervener acts in the rows that it answers."""

    def __init__(self, intervener: Intervener, action: Leaf) -> None:
        self._intervener, self._answer = intervener, _Answer()
        self._checked = Checked(self._answer, SpaceSpec(tree=action.name, leaves=(action,)))

    def begin(self, slot: int, seed: int) -> None:
        """Tell the intervener."""
        self._intervener.begin(slot, seed)

    def choose(self, now: Situation) -> Choice:
        """Return who acts.

        Raises:
            RunError: an answer has the wrong shape or type, is NaN, or is not an action of a discrete space.
        """
        seen = {name: values.copy() for name, values in now.observations.items()}  # the intervener may change these
        answer: Any = self._intervener.intervene(seen, now.actions.copy())
        if not isinstance(answer, Labels):
            raise RunError(f"the intervener returned {type(answer).__name__}, expected distil.types.Labels; fix it")
        self._answer.labels = Labels(actions=np.asarray(answer.actions), mask=np.asarray(answer.mask))
        labels = self._checked.act(now.observations)
        return Choice(expert_acts=labels.mask, labels=labels)


class _Answer(Stateless):
    """The intervener's last answer as an expert's answer, so that it is checked like one."""

    name = "intervener"

    def __init__(self) -> None:
        self.labels: Labels | None = None

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        assert self.labels is not None
        return self.labels


class ImportIntervenerConfig(Config):
    """Your own: `target(num_envs=..., **kwargs)` with `begin(slot, seed)` and `intervene(observations, actions)`."""

    needs_window: ClassVar[bool] = False
    kind: Literal["import"] = "import"
    target: str
    kwargs: dict[str, Any] = Field(default_factory=dict)

    def check(self, action: Leaf) -> None:
        """Raise InputError if the target is missing, or is a class that lacks a method or does not take the kwargs."""
        target: Any = import_target(self.target, "intervener")
        if isinstance(target, type):
            self._require_methods(target)
            try:
                signature = inspect.signature(target)
            except ValueError:  # a class of a compiled module may have none
                return
            self._call(signature.bind)

    def build(self, num_envs: int, action: Leaf) -> Intervener:
        """Return the intervener; InputError if the target is missing, can't be made or lacks a method."""
        intervener = self._call(import_target(self.target, "intervener"), num_envs)
        self._require_methods(intervener)
        out: Intervener = intervener
        return out

    def _call(self, make: Any, num_envs: int = 1) -> Any:
        try:
            return make(num_envs=num_envs, **self.kwargs)
        except TypeError as error:
            raise InputError(f"intervener {self.target}: {error}; it is called with num_envs and its kwargs") from None

    def _require_methods(self, holder: Any) -> None:
        lacking = [method for name, method in _METHODS.items() if not callable(getattr(holder, name, None))]
        if lacking:
            raise InputError(f"intervener {self.target}: lacks the method {', '.join(lacking)}; add it")

"""Gates that measure a signal: the expert takes over where it is too large, and gives back control where it is not.

A signal is the disagreement of an ensemble, or a number that a small fitted network predicts from an observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distil.errors import InputError
from distil.experts.gates.base import Choice, Situation
from distil.experts.gates.discrepancy import Discrepancy
from distil.policies.acting import Acting, acting
from distil.policies.spec import PolicyRef
from distil.spaces import Leaf
from distil.types import Array


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A number for each observation, and its threshold."""

    threshold: float
    predictor: PolicyRef | None = None  # gives the number as its action; None: the disagreement of the policy's members


@dataclass(frozen=True, kw_only=True)
class SwitchPlan:
    """The expert takes over where one of `enter` is above its threshold.

    Without `leave` it acts only there. With `leave`, a discrepancy, it acts until the policy would do the same: until their
    discrepancy is at most `leave` and no signal of `stay` is above its threshold. The expert is asked, and gives a label, only
    where it may act. With `ask_all` it is asked everywhere, and also takes over where the discrepancy is above `veto`.
    """

    enter: Sequence[Signal]
    stay: Sequence[Signal] = ()
    leave: float | None = None
    ask_all: bool = False
    veto: float | None = None
    needs_expert = True

    @property
    def labels_all(self) -> bool:
        """Whether the expert is asked at every step."""
        return self.ask_all

    def build(self, num_envs: int, action: Leaf) -> SwitchGate:
        """Return the gate."""
        return SwitchGate(self, num_envs, action)


class SwitchGate:
    """See `SwitchPlan`."""

    def __init__(self, plan: SwitchPlan, num_envs: int, action: Leaf) -> None:
        self._plan, self._discrepancy = plan, Discrepancy(action)
        self._enter, self._stay = (_Meters(signals, num_envs) for signals in (plan.enter, plan.stay))
        self._expert_acts = np.zeros(num_envs, np.bool_)

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`: the policy has control."""
        self._expert_acts[slot] = False
        self._enter.begin(slot, seed)
        self._stay.begin(slot, seed)

    def choose(self, now: Situation) -> Choice:
        """Return who acts: the expert where it takes over, or has not given back control."""
        plan, over = self._plan, self._enter.over(now)
        held = self._expert_acts if plan.leave is not None else np.zeros_like(over)
        labels = now.ask(np.ones_like(over) if plan.ask_all else over | held)
        if plan.leave is not None or plan.veto is not None:
            apart = self._discrepancy(now.actions, labels.actions)
        if plan.veto is not None:
            over |= apart > plan.veto
        if plan.leave is not None:
            over = np.where(held, (apart > plan.leave) | self._stay.over(now), over)
        acts = over & labels.mask
        self._expert_acts = acts.copy()
        return Choice(expert_acts=acts, labels=labels)


class _Meters:
    """The values of some signals, for all slots."""

    def __init__(self, signals: Sequence[Signal], num_envs: int) -> None:
        self._num = num_envs
        self._signals: list[tuple[float, Acting | None]] = [
            (s.threshold, None if s.predictor is None else acting(s.predictor, num_envs)) for s in signals
        ]

    def begin(self, slot: int, seed: int) -> None:
        for _, predictor in self._signals:
            if predictor is not None:
                predictor.begin(slot, seed)

    def over(self, now: Situation) -> Array:
        """Return where [N] any signal is above its threshold."""
        out = np.zeros(self._num, np.bool_)
        for threshold, predictor in self._signals:
            values = now.doubt if predictor is None else predictor.act(now.observations)[:, 0]
            if values is None:
                raise InputError(
                    "the gate needs the disagreement of the policy's members, and it has one: set policy.ensemble=5"
                )
            out |= values > threshold
        return out

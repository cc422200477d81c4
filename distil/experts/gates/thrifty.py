"""ThriftyDAgger: novelty and risk, with thresholds that keep a budget of interventions (Hoque et al., arXiv:2109.08273).

Legend: R rows (transitions).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from distil.errors import InputError
from distil.experts.gates.base import BaseGateConfig, Threshold
from distil.experts.gates.evidence import Evidence, predicted
from distil.experts.gates.switch import Signal, SwitchPlan
from distil.store.index import EpisodeIndex
from distil.types import Array

Failure = Literal["auto", "terminated", "unsuccessful"]


class ThriftyGateConfig(BaseGateConfig):
    """Novelty and risk, with thresholds that keep a budget of interventions (ThriftyDAgger: Hoque et al., 2109.08273).

    The expert takes over where the members disagree more, or failure is nearer, than at all but a fraction `budget` of the
    states that policies visited. It gives back control where the policy would do the same and the risk is below its median.
    """

    needs_ensemble: ClassVar[bool] = True
    kind: Literal["thrifty"] = "thrifty"
    budget: float = Field(default=0.1, gt=0, lt=1)  # fraction of the states, for disagreement and for risk
    leave: Threshold | None = None  # discrepancy up to which to give back control; null: the mean one on the data
    failure: Failure = "auto"  # what risk means; auto: no success, if that is known
    discount: float = Field(default=0.99, gt=0, lt=1)  # of a failure, for each step until it

    def plan(self, evidence: Evidence) -> SwitchPlan:
        """Return the gate, with its thresholds and its estimate of risk fitted to the visited states.

        Raises:
            InputError: the policy is not an ensemble, or the environment does not report the success that `failure` asks for.
        """
        visited = evidence.visited()
        if visited.doubt is None:
            raise InputError(
                "algorithm.gate.kind=thrifty needs the disagreement of the policy's members: set policy.ensemble=5"
            )
        enter, stay = [Signal(threshold=budget_threshold(visited.doubt, self.budget))], []
        failed = failures(self.failure, visited.episodes)
        if failed.any() and not failed.all():
            risk = risk_of_failure(failed, visited.episodes.length, self.discount)
            predictor = evidence.predictor(visited.observations, risk, 1.0, "risk")
            values = predicted(predictor, visited.observations)
            enter.append(Signal(threshold=budget_threshold(values, self.budget), predictor=predictor))
            stay.append(Signal(threshold=float(np.median(values)), predictor=predictor))
        leave = self.leave if self.leave is not None else float(evidence.labelled()[1].mean())
        return SwitchPlan(enter=tuple(enter), stay=tuple(stay), leave=leave)


def budget_threshold(values: Array, budget: float) -> float:
    """Return a threshold that a fraction `budget` of the values [R] exceed: tied values all or none, whichever is nearer.

    The disagreement about discrete actions is a share of few members, so most of its values are tied.
    """
    highest = float(np.quantile(values, 1 - budget))
    lowest = float(values[values < highest].max(initial=-1.0))  # they are at least 0
    return min((highest, lowest), key=lambda threshold: abs(float((values > threshold).mean()) - budget))


def failures(failure: Failure, episodes: EpisodeIndex) -> Array:
    """Return [episodes] bool, which episodes failed.

    Raises:
        InputError: success is asked for, and not known for every episode.
    """
    known = bool((episodes.success >= 0).all())
    if failure == "unsuccessful" and not known:
        fix = "set it to terminated"
        raise InputError(f"algorithm.gate.failure=unsuccessful: the environment does not report success; {fix}")
    out: Array = episodes.success == 0 if known and failure != "terminated" else episodes.terminated != 0
    return out


def risk_of_failure(failed: Array, lengths: Array, discount: float) -> Array:
    """Return [R] how near a failure is: discount ** (steps until it); 0 in episodes that don't fail."""
    parts = [bad * discount ** np.arange(num - 1, -1, -1.0) for bad, num in zip(failed, lengths, strict=True)]
    out: Array = np.concatenate(parts)
    return out

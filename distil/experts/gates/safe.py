"""Gates that predict how far the policy is from the expert: SafeDAgger and LazyDAgger."""

from __future__ import annotations

from typing import Literal

from distil.experts.gates.base import BaseGateConfig, Threshold
from distil.experts.gates.discrepancy import MAX_DISCREPANCY
from distil.experts.gates.evidence import Evidence
from distil.experts.gates.switch import Signal, SwitchPlan


class SafeGateConfig(BaseGateConfig):
    """The expert acts where a network predicts that the policy would differ (SafeDAgger: Zhang and Cho, arXiv:1605.06450).

    The network is fitted to the states that the policy was trained on. It underestimates if there are few of them: start
    with enough demonstrations for a fair clone, or use an ensemble.
    """

    kind: Literal["safe"] = "safe"
    threshold: Threshold = 0.1

    def plan(self, evidence: Evidence) -> SwitchPlan:
        """Return the gate, with its network fitted to the labelled steps."""
        return SwitchPlan(enter=(_differs(self.threshold, evidence),))


class LazyGateConfig(BaseGateConfig):
    """As safe, but the expert continues until the policy would do the same (LazyDAgger: Hoque et al., arXiv:2104.00053)."""

    kind: Literal["lazy"] = "lazy"
    threshold: Threshold = 0.1
    leave: Threshold = 0.05  # measured discrepancy up to which the policy gets control back

    def plan(self, evidence: Evidence) -> SwitchPlan:
        """Return the gate, with its network fitted to the labelled steps."""
        return SwitchPlan(enter=(_differs(self.threshold, evidence),), leave=self.leave)


def _differs(threshold: float, evidence: Evidence) -> Signal:
    observations, apart = evidence.labelled()
    return Signal(threshold=threshold, predictor=evidence.predictor(observations, apart, MAX_DISCREPANCY))

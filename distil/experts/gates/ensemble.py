"""The gate that asks how much the members of an ensemble disagree: EnsembleDAgger."""

from __future__ import annotations

from typing import ClassVar, Literal

from distil.experts.gates.base import BaseGateConfig, Threshold
from distil.experts.gates.evidence import Evidence
from distil.experts.gates.switch import Signal, SwitchPlan


class EnsembleGateConfig(BaseGateConfig):
    """The expert acts where the policy's members disagree, or it differs from them (EnsembleDAgger: arXiv:1807.08364)."""

    needs_ensemble: ClassVar[bool] = True
    kind: Literal["ensemble"] = "ensemble"
    doubt: Threshold = 0.05  # disagreement of the members above which the expert acts
    discrepancy: Threshold | None = None  # also where policy and expert differ by more: the expert is asked at every step

    def plan(self, evidence: Evidence) -> SwitchPlan:
        """Return the gate; it is fitted to nothing."""
        signal = Signal(threshold=self.doubt)
        return SwitchPlan(enter=(signal,), ask_all=self.discrepancy is not None, veto=self.discrepancy)

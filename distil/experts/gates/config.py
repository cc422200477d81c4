"""`algorithm.gate:` who acts and who is asked, in the rounds after the first."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from distil.experts.gates.base import BaseGateConfig
from distil.experts.gates.ensemble import EnsembleGateConfig
from distil.experts.gates.evidence import Evidence
from distil.experts.gates.human import HumanPlan, ImportIntervenerConfig
from distil.experts.gates.keyboard import KeyboardConfig
from distil.experts.gates.safe import LazyGateConfig, SafeGateConfig
from distil.experts.gates.thrifty import ThriftyGateConfig
from distil.spaces import Leaf


class HumanGateConfig(BaseGateConfig):
    """A person or program outside takes over when it likes (HG-DAgger: Kelly et al., arXiv:1810.02890)."""

    needs_expert: ClassVar[bool] = False
    kind: Literal["human"] = "human"
    intervener: KeyboardConfig | ImportIntervenerConfig = Field(discriminator="kind")

    @property
    def needs_window(self) -> bool:
        """Whether the intervener watches the environment's own window."""
        return self.intervener.needs_window

    def check(self, action: Leaf) -> None:
        """Raise InputError if the intervener can't act in this action space."""
        self.intervener.check(action)

    def plan(self, evidence: Evidence) -> HumanPlan:
        """Return the gate; it is fitted to nothing."""
        return HumanPlan(intervener=self.intervener)


GateConfig = Annotated[
    SafeGateConfig | LazyGateConfig | EnsembleGateConfig | ThriftyGateConfig | HumanGateConfig, Field(discriminator="kind")
]

__all__ = [
    "EnsembleGateConfig",
    "GateConfig",
    "HumanGateConfig",
    "ImportIntervenerConfig",
    "KeyboardConfig",
    "LazyGateConfig",
    "SafeGateConfig",
    "ThriftyGateConfig",
]

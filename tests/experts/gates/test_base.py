import pytest
from gatebed import CHOICE, leaf

from distil.experts.gates.base import BaseGateConfig
from distil.experts.gates.switch import Signal, SwitchPlan


class OwnGateConfig(BaseGateConfig):
    """The least that a gate's configuration has to say."""

    def plan(self, evidence):
        return SwitchPlan(enter=(Signal(threshold=0.5),))


def test_a_gate_needs_an_expert_and_nothing_else_unless_it_says_so():
    config = OwnGateConfig()
    assert (config.needs_expert, config.needs_ensemble, config.needs_window) == (True, False, False)
    config.check(leaf(CHOICE))


def test_a_gate_without_a_plan_cannot_be_made():
    with pytest.raises(TypeError, match=r"abstract.*plan"):
        type("Planless", (BaseGateConfig,), {})()

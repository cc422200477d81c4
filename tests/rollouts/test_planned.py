import json

import pytest

from distil.config import Config, validate
from distil.experts.gates.config import GateConfig, SafeGateConfig
from distil.plans import CollectPlan
from distil.rollouts.planned import from_json, to_json


class Holder(Config):
    gate: GateConfig


@pytest.mark.parametrize(
    "gate",
    [
        {"kind": "safe", "threshold": 1},
        {"kind": "lazy", "leave": 0.0},
        {"kind": "ensemble", "discrepancy": None},
        {"kind": "thrifty", "failure": "terminated"},
        {"kind": "human", "intervener": {"kind": "keyboard", "keys": {"left": [1, 2.5], "a": [0, 0]}}},
        {"kind": "human", "intervener": {"kind": "import", "target": "a:b", "kwargs": {"c": {"d": None}}}},
    ],
    ids=lambda gate: gate["kind"],
)
def test_a_gated_plan_reads_back_from_the_journal(gate):
    """CORRECTNESS 14: a resumed run continues as planned."""
    plan = CollectPlan(num_episodes=3, round=2, agent="policy", label=True, gate=validate(Holder, {"gate": gate}).gate)
    assert from_json(json.loads(json.dumps(to_json(plan)))) == plan


def test_a_plan_without_a_gate_reads_back_too():
    plan = CollectPlan(num_episodes=3, round=2, agent="policy", beta=0.3, beta_unit="step", label=True, max_unlabelled=0.1)
    assert from_json(json.loads(json.dumps(to_json(plan)))) == plan
    assert from_json(to_json(plan)) != CollectPlan(num_episodes=3, gate=SafeGateConfig())


def test_a_plan_that_an_earlier_version_wrote():
    plan = CollectPlan(num_episodes=3, round=2, agent="policy")
    written = {"actor" if name == "agent" else name: value for name, value in to_json(plan).items()}
    assert from_json(written) == plan

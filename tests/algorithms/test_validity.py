from dataclasses import replace
from typing import Any

import pytest

from distil.algorithms.base import Budget, Needs
from distil.algorithms.validity import fault_of
from distil.experts.gates.config import LazyGateConfig
from distil.plans import CheckPlan, CollectPlan, ConfirmPlan, EvaluatePlan, Round, StreamPlan, UpdatePlan

BUDGET = Budget(num_demonstrations=4, num_steps=10, num_evaluation_episodes=3)
PLAY = CollectPlan(num_episodes=2, round=2, agent="policy", into="agent", keep_rounds=3)
BOTH = UpdatePlan(num_steps=5, round=2, streams={"demos": StreamPlan(), "mine": StreamPlan(source="agent", num_rounds=3)})
ROUND = Round(index=2, collect=PLAY, update=BOTH, evaluate=EvaluatePlan(num_episodes=3))
GATE = LazyGateConfig()
TUNE = EvaluatePlan(num_episodes=3, held_out=False)
LOOK = ConfirmPlan(target=0.9, num_episodes=50, confidence=0.95)


def test_a_round_that_can_be_carried_out_has_no_fault() -> None:
    assert fault_of(ROUND, 2, BUDGET, Needs()) is None
    assert fault_of(replace(ROUND, evaluate=replace(TUNE, confirm=LOOK)), 2, BUDGET, Needs()) is None
    ahead = (CollectPlan(num_episodes=1, round=3, agent="policy", label=True),)
    assert fault_of(replace(ROUND, ahead=ahead), 2, BUDGET, Needs(collects=True, overlap=1)) is None


@pytest.mark.parametrize(
    ("todo", "text"),
    [
        ({"index": 2}, "returned a dict, not a distil.plans.Round or None"),
        (replace(ROUND, index=0), "its index is 0; return Round(index=2)"),
        (replace(ROUND, collect={"num_episodes": 1}), "its collect is a dict, not a CollectPlan or None"),
        (replace(ROUND, update=replace(BOTH, round=0)), "its update.round is 0; set round=2"),
        (replace(ROUND, collect=replace(PLAY, round=0)), "its collect.round is 0; set round=2"),
        (replace(ROUND, collect=replace(PLAY, agent="learner")), "its collect.agent is 'learner'; use one of expert,"),
        (replace(ROUND, collect=replace(PLAY, act="mode")), "its collect.act is 'mode'; use one of point, sample"),
        (replace(ROUND, collect=replace(PLAY, num_episodes=None)), "its collect.num_episodes is None; give a number"),
        (replace(ROUND, collect=replace(PLAY, beta=7.0)), "its collect.beta is 7.0; give a chance from 0 to 1"),
        (replace(ROUND, collect=replace(PLAY, beta="often")), "its collect.beta is 'often'; give a chance from 0 to 1"),
        (replace(ROUND, update=replace(BOTH, num_steps=True)), "its update.num_steps is True; give a number of at least 1"),
        (replace(ROUND, update=replace(BOTH, num_steps=0)), "its update.num_steps is 0; give a number of at least 1"),
        (replace(ROUND, collect=replace(PLAY, into="mine")), "its collect.into is 'mine'; use one of demos, agent"),
        (replace(ROUND, collect=replace(PLAY, keep_rounds=0)), "reads 3 rounds, collect.keep_rounds=0; keep as many"),
        (replace(ROUND, collect=replace(PLAY, keep_rounds=0), update=None), "its collect.keep_rounds is 0; keep at least 1"),
        (replace(ROUND, collect=replace(PLAY, keep_rounds=2)), "its stream 'mine' reads 3 rounds, collect.keep_rounds=2"),
        (replace(ROUND, collect=replace(PLAY, min_steps=0)), 'its collect.min_steps is 0; give a number of at least 1 and'),
        (replace(ROUND, collect=replace(PLAY, keep_steps=2.5)), "its collect.keep_steps is 2.5; give a number of at least 1"),
        (replace(ROUND, collect=replace(PLAY, into="demos", keep_rounds=None, min_steps=9), update=None), 'and into="agent"'),
        (replace(ROUND, collect=replace(PLAY, gate=GATE)), "its collect.gate is fitted to demonstrations"),
        (replace(ROUND, update=replace(BOTH, streams={})), "its update has no streams"),
        (replace(ROUND, update=replace(BOTH, streams={"x": StreamPlan(source="replay")})), "its stream 'x' is StreamPlan("),  # type: ignore[arg-type]
        (replace(ROUND, update=replace(BOTH, streams={"x": "agent"})), "its stream 'x' is 'agent'; give a StreamPlan whose"),
        (replace(ROUND, collect=replace(PLAY, agent="random", label=True)), 'beta and gate are for agent="policy"'),
        (replace(ROUND, collect=replace(PLAY, agent="random", beta=0.5)), 'beta and gate are for agent="policy"'),
        (replace(ROUND, evaluate=replace(TUNE, confirm=replace(LOOK, num_episodes=1))), "num_episodes of at least 2"),
        (replace(ROUND, evaluate=replace(TUNE, confirm=replace(LOOK, confidence=0.1))), "confirm.confidence is 0.1; give"),
        (replace(ROUND, evaluate=EvaluatePlan(num_episodes=3, confirm=LOOK)), "set held_out=False and baselines=True"),
        (replace(ROUND, ahead=(replace(PLAY, round=3),)), "its `ahead` must be CollectPlans into demos"),
        (replace(ROUND, ahead=(CollectPlan(num_episodes=1, round=3),)), "1 rounds collected ahead; set algorithm.overlap=1"),
    ],
)  # fmt: skip
def test_what_can_not_be_carried_out_is_told_with_the_fix(todo: Any, text: str) -> None:
    fault = fault_of(todo, 2, BUDGET, Needs())
    assert fault is not None
    assert text in fault
    assert "\n" not in fault


def test_the_agents_episodes_are_collected_before_they_are_read() -> None:
    todo = Round(index=0, update=replace(BOTH, round=0))
    assert "reads the agent's episodes before any are collected" in str(fault_of(todo, 0, BUDGET, Needs()))
    assert fault_of(replace(todo, collect=replace(PLAY, round=0)), 0, BUDGET, Needs()) is None


@pytest.mark.parametrize(
    ("todo", "budget", "text"),
    [
        (Round(index=2, collect=PLAY), {"has_env": False}, "there is no environment; set env.id"),
        (Round(index=2, evaluate=EvaluatePlan(num_episodes=1)), {"has_env": False}, "there is no environment; set env.id"),
        (Round(index=2, collect=replace(PLAY, label=True)), {"has_expert": False}, "none is configured; set expert.kind"),
        (Round(index=2, collect=CollectPlan(num_episodes=1, round=2)), {"has_expert": False}, "set expert.kind"),
        (Round(index=2, check=CheckPlan(num_episodes=1)), {"may_check": False}, "expert.paid=true rules out"),
        (Round(index=2, evaluate=EvaluatePlan(num_episodes=1)), {"baselines": False}, "set baselines=budget.baselines"),
        (
            Round(index=2, collect=CollectPlan(num_episodes=1, round=2)),
            {"num_demonstrations": None},
            "set algorithm.collects=true",
        ),
    ],
)
def test_what_the_configuration_does_not_grant_is_told(todo: Round, budget: dict[str, Any], text: str) -> None:
    assert fault_of(todo, 2, BUDGET, Needs()) is None
    assert text in str(fault_of(todo, 2, replace(BUDGET, **budget), Needs()))

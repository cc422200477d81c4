import json
import pickle

from distil.plans import CheckPlan, CollectPlan, EvaluatePlan, Round, RoundReport, StreamPlan, UpdatePlan
from distil.store import WeightConfig

ROUND = Round(
    index=2,
    check=CheckPlan(num_episodes=3, min_return=10.0),
    collect=CollectPlan(num_episodes=5, round=2, agent="policy", beta=0.5, beta_unit="step", label=True),
    update=UpdatePlan(
        num_steps=7,
        round=2,
        from_scratch=True,
        streams={"demos": StreamPlan(num_rounds=1)},
        weights=WeightConfig(round_decay=0.5),
    ),
    evaluate=EvaluatePlan(num_episodes=4, round=2, held_out=False),
)


def test_a_report_survives_the_journal() -> None:
    """A resumed run decides from what it reads, so nothing may get lost or rounded."""
    metrics = {"eval/return_mean": 0.1 + 0.2, "budget/wall_s": 1e-17, "train/loss": -3.0}
    report = RoundReport(index=1, snapshot=4, policy_version=2, metrics=metrics)
    assert RoundReport(**json.loads(json.dumps(report.to_json()))) == report


def test_a_report_of_a_store_that_was_not_read() -> None:
    report = RoundReport(index=0, snapshot=None, policy_version=0, metrics={})
    assert RoundReport(**json.loads(json.dumps(report.to_json()))) == report


def test_plans_are_shipped_whole() -> None:
    assert pickle.loads(pickle.dumps(ROUND)) == ROUND


def test_parts_that_nobody_asked_for_are_left_out() -> None:
    empty = Round(index=0)
    assert empty.check is empty.collect is empty.update is empty.evaluate is None

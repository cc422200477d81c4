import json
import pickle

from distil.plans import CheckPlan, CollectPlan, EvaluatePlan, Round, RoundReport, Spent, StreamPlan, UpdatePlan
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
    evaluate=EvaluatePlan(num_episodes=4, held_out=False),
)


def test_a_report_survives_the_journal() -> None:
    """A resumed run decides from what it reads, so nothing may get lost or rounded."""
    metrics = {"eval/return_mean": 0.1 + 0.2, "budget/wall_s": 1e-17, "train/loss": -3.0}
    spent = Spent(env_steps=7, given_env_steps=3, wall_s=0.1 + 0.2)
    report = RoundReport(
        index=1,
        snapshot=4,
        policy_version=2,
        spent=spent,
        ahead=2,
        is_final=True,
        score=1 / 3,
        score_low=0.1 + 0.2,
        num_looks=3,
        metrics=metrics,
    )
    assert RoundReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_a_report_from_before_there_were_second_looks_is_read() -> None:
    written = RoundReport(index=1, snapshot=4, policy_version=2, score=0.7).to_json()
    del written["score_low"], written["num_looks"]
    report = RoundReport.from_json(written)
    assert (report.score, report.score_low, report.num_looks) == (0.7, None, 0)


def test_a_report_of_a_store_that_was_not_read() -> None:
    report = RoundReport(index=0, snapshot=None, policy_version=0)
    assert RoundReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_a_report_of_version_0_1_0_is_rebuilt_from_its_metrics() -> None:
    """It wrote no typed fields; a resumed run has to decide the same."""
    metrics = {
        **{"budget/demonstrations": 4, "budget/env_steps": 420, "budget/expert_labels": 400, "budget/unlabelled_steps": 20},
        **{"budget/given_env_steps": 60, "budget/given_expert_labels": 50, "budget/expert_queries": 540.0},
        **{"budget/gradient_steps": 240.0, "budget/wall_s": 6.83, "collect/ahead": 1.0, "tune/normalised": 0.75},
    }
    written = {"index": 1, "snapshot": 2, "policy_version": 2, "metrics": metrics}
    spent = Spent(
        demonstrations=4,
        env_steps=420,
        expert_labels=400,
        unlabelled_steps=20,
        given_env_steps=60,
        given_expert_labels=50,
        expert_queries=540,
        gradient_steps=240,
        wall_s=6.83,
    )
    facts = {"index": 1, "snapshot": 2, "policy_version": 2, "metrics": metrics}
    assert RoundReport.from_json(written) == RoundReport(**facts, spent=spent, ahead=1, score=0.75)
    assert spent.metrics().items() <= metrics.items()
    final = RoundReport.from_json(written | {"metrics": {"eval/return_mean": 3.0, "eval/normalised": 1.0}})
    assert (final.is_final, final.score, final.ahead, final.spent) == (True, None, 0, Spent())


def test_only_given_demonstrations_are_named_in_the_metrics() -> None:
    assert "budget/given_env_steps" not in Spent(env_steps=3).metrics()
    assert Spent(env_steps=3, given_env_steps=2).metrics()["budget/given_env_steps"] == 2


def test_plans_are_shipped_whole() -> None:
    assert pickle.loads(pickle.dumps(ROUND)) == ROUND


def test_parts_that_nobody_asked_for_are_left_out() -> None:
    empty = Round(index=0)
    assert empty.check is empty.collect is empty.update is empty.evaluate is None

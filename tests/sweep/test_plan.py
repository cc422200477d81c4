from pathlib import Path

import pytest
from sweepbed import sweep

from distil.cluster import num_cores
from distil.errors import InputError
from distil.sweep.plan import plan_sweep


def test_a_plan_says_what_would_happen_and_starts_nothing(tmp_path: Path) -> None:
    plan = plan_sweep(sweep(runs=str(tmp_path / "runs"), budget={"labels": 120}, concurrent=2))
    assert not (tmp_path / "runs").exists()
    assert [(family.name, family.num_trials) for family in plan.families] == [("bc", 2), ("dagger", 2)]
    assert plan.num_confirmations == 2
    assert plan.families[1].held == {"algorithm.stop.expert_labels": 120}
    assert plan.seconds > 0
    text = plan.text()
    assert "4 trials, 2 confirmations" in text
    assert "algorithm.stop.expert_labels=120" in text
    assert "learner.learning_rate" in text
    assert max(map(len, text.splitlines())) <= 128
    assert plan.to_json()["confirmations"] == 2


def test_a_plan_for_a_cluster_does_not_count_this_machines_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    address = {"set": {**sweep().set, "rollouts.address": "10.0.0.1:6379"}}
    plan = plan_sweep(sweep(runs=str(tmp_path), concurrent="auto", **address))
    assert plan.concurrent is None
    assert "as many at a time as the cluster has room for" in plan.text()
    assert plan_sweep(sweep(runs=str(tmp_path), concurrent=3, **address)).concurrent == 3
    assert plan_sweep(sweep(runs=str(tmp_path), concurrent="auto")).concurrent == num_cores()


def test_the_time_of_a_trial_is_that_of_its_budget(tmp_path: Path) -> None:
    sqil = {"concurrent": 1, "families": {"sqil": {"recipe": "cartpole-sqil"}}, "set": {"tracking.enabled": False}}
    times = [plan_sweep(sweep(runs=str(tmp_path), budget={"steps": num}, **sqil)).seconds for num in (20_000, 40_000)]
    assert times[1] > times[0] + 2 * 20_000 / 200  # two trials, with an update a step


def test_a_plan_refuses_what_a_sweep_would_refuse(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown key learner\.momentum"):
        plan_sweep(sweep(runs=str(tmp_path), families={"bc": {"search": {"learner.momentum": {"choice": [1]}}}}))

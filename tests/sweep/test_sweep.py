"""Whole sweeps on Ray Tune: what they find, and what is left of them when they are killed or their trials fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fencebed import holder
from sweepbed import sweep

from distil.errors import InputError
from distil.rundir import RunDir
from distil.store import Store
from distil.sweep.config import AshaConfig, SweepConfig
from distil.sweep.ranking import Confirmed, front
from distil.sweep.stage import Stage
from distil.sweep.state import SweepDir
from distil.sweep.stopping import Score, goes_on, rungs
from distil.sweep.sweep import SweepResult, run_sweep
from distil.sweep.trial import Look

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray Tune's own

ASHA = {"kind": "asha", "first": 0.5, "factor": 2.0}


class Killed(BaseException):
    """Stands for a SIGKILL of the driver: nothing of ours handles it."""


def lines(config: SweepConfig, kind: str) -> list[dict[str, Any]]:
    return SweepDir(config.folder).journal.entries(kind)


def test_a_sweep_searches_confirms_and_ranks(ray_session: Any, tmp_path: Path) -> None:
    """Trials are scored on tuning episodes, confirmations on held-out ones with fresh seeds."""
    config = sweep(runs=str(tmp_path), budget={"labels": 110}, concurrent=2, scheduler=ASHA)
    result = run_sweep(config)
    searched = [trial for trial in result.trials if trial.of is None]
    assert sorted(trial.name for trial in searched) == ["bc-000", "bc-001", "dagger-000", "dagger-001"]
    assert all(trial.ended in ("done", "stopped") for trial in result.trials)
    (best,) = result.confirmed
    assert best.trial in {trial.name for trial in searched if trial.ended == "done"}
    assert list(best.scores) == [1, 2]
    assert best.spent["expert_labels"] <= 110
    for seed, path in zip(best.scores, best.runs, strict=True):
        run = RunDir(Path(path))
        assert run.reports()[-1].metrics["eval/normalised"] == best.scores[seed]
        assert json.loads((run.path / "results.json").read_text())
    for trial in searched:
        metrics = RunDir(config.folder / trial.folder).reports()
        assert not any("eval/normalised" in report.metrics for report in metrics)
    assert result.verdict.startswith(f"{best.trial} is best")
    text = result.text()
    assert best.trial in text
    assert str(config.folder) in text
    assert json.loads((config.folder / "results.json").read_text())["verdict"] == result.verdict
    with pytest.raises(InputError, match="exists already; continue it with --resume"):
        run_sweep(config)
    with holder(config.folder) as older:
        again = run_sweep(config, resume=True)  # nothing is left to do, but to take the sweep over
        older.communicate()
        assert older.returncode == 1
    assert again.confirmed == result.confirmed
    assert len(lines(config, "started")) == len(result.trials)


def test_the_table_marks_the_pareto_front(tmp_path: Path) -> None:
    many, few = (
        Confirmed(
            trial=name, family="bc", values={}, searched=0.5, scores={1: score}, runs=(name,), spent={"expert_labels": paid}
        )
        for name, score, paid in (("many", 0.9, 1200.0), ("few", 0.6, 600.0))
    )
    facts = {"folder": tmp_path, "metric": "tune/normalised", "trials": (), "verdict": "", "wall_s": 1.0}
    result = SweepResult(**facts, confirmed=(many, few), front=front([many]))
    assert "distil register many " in result.text()
    found = {line.split()[0]: line.split()[-1] for line in result.text().splitlines() if line.split()}
    assert (found["many"], found["few"]) == ("yes", "\N{EN DASH}")
    assert "Pareto front of score and labels: many (0.900 with 1,200 labels)." in result.text()
    assert result.text().count("configuration") == 1  # it is not divided
    assert "own steps" not in result.text()
    assert result.to_json()["front"] == ["many"]
    one_objective = SweepResult(**facts, confirmed=(many, few), front=())
    assert "Pareto" not in one_objective.text()
    assert "front" not in one_objective.text()


def test_an_mlflow_that_cannot_be_used_is_told_before_the_folder_is_made(tmp_path: Path) -> None:
    tracking = {**sweep().set, "tracking.enabled": True, "tracking.uri": "nonsense://x"}
    with pytest.raises(InputError, match="nonsense"):
        run_sweep(sweep(runs=str(tmp_path), set=tracking))
    assert not any(tmp_path.iterdir())


WHOLE: dict[str, Any] = {"concurrent": 1, "scheduler": ASHA, "confirm": {"best": 0}, "looks": 4}


@pytest.fixture(scope="module")
def undisturbed(ray_session: Any, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return run_sweep(sweep(runs=str(tmp_path_factory.mktemp("undisturbed")), **WHOLE))


@pytest.mark.parametrize("moment", ["first score", "fourth score", "past the last rung"])
def test_a_killed_sweep_continues_where_it_was(
    ray_session: Any, undisturbed: SweepResult, tmp_path: Path, monkeypatch: Any, moment: str
) -> None:
    """CORRECTNESS 11: every trial is finished once, and decisions are those that the scores lead to."""
    config, heard, told = sweep(runs=str(tmp_path), **WHOLE), Stage.heard, list[float]()

    def dying(self: Stage, trial: str, look: Look) -> bool:
        told.append(look.fraction)
        is_past = max(rungs(AshaConfig(**ASHA))) < look.fraction < 1  # no score decides on the trial any more
        if {"first score": len(told) == 1, "fourth score": len(told) == 4, "past the last rung": is_past}[moment]:
            raise Killed
        return heard(self, trial, look)

    monkeypatch.setattr(Stage, "heard", dying)
    with pytest.raises(Killed):
        run_sweep(config)
    monkeypatch.setattr(Stage, "heard", heard)
    result = run_sweep(config, resume=True)
    assert [(t.name, t.values, t.score, t.ended) for t in result.trials] == [
        (t.name, t.values, t.score, t.ended) for t in undisturbed.trials
    ]
    ends = [line["trial"] for line in lines(config, "ended")]
    assert sorted(ends) == sorted(trial.name for trial in result.trials)
    seen = list[Score]()
    for score in SweepDir(config.folder).scores():
        line = next(x for x in lines(config, "heard") if (x["trial"], x["fraction"]) == (score.trial, score.fraction))
        assert line["continues"] == goes_on(config, seen, score)
        seen.append(score)
    uids = Store.open(config.folder / "demos").snapshot().episodes.uid.tolist()
    assert len(uids) == len(set(uids))


def test_a_trial_that_fails_ends_no_other(ray_session: Any, tmp_path: Path) -> None:
    search = {"learner.batch_size": {"choice": [16, 32]}}
    bad = {"set": {"policy.encoder.kind": "import", "policy.encoder.target": "testbed:Absent"}, "search": search}
    with pytest.raises(InputError, match=r"families\.bad"):
        run_sweep(sweep(runs=str(tmp_path), families={"bc": {"search": search}, "bad": bad}))
    config = sweep(
        runs=str(tmp_path),
        families={"bc": {"search": {"learner.learning_rate": {"grid": [1e-3, 1e30]}}}},
        searcher={"kind": "grid"},
    )
    result = run_sweep(config)
    found = {trial.values["learner.learning_rate"]: trial for trial in result.trials if trial.of is None}
    assert found[1e-3].ended == "done"
    assert found[1e30].ended == "failed"
    assert "training diverged" in found[1e30].fault
    assert [one.trial for one in result.confirmed] == [found[1e-3].name]
    assert "1 failed" in result.text()


def test_more_than_a_node_has_is_refused(ray_session: Any, tmp_path: Path) -> None:
    config = sweep(runs=str(tmp_path), set={**sweep().set, "rollouts.num_workers": 500})
    with pytest.raises(InputError, match="a trial needs 501 CPUs"):
        run_sweep(config)


def test_trials_may_have_workers_of_their_own(ray_session: Any, tmp_path: Path) -> None:
    """Their actors are placed in the trial's own placement group."""
    keys = {"families": {"bc": {}}, "searcher": {"kind": "random", "trials": 1}, "confirm": {"best": 0}}
    config = sweep(runs=str(tmp_path), set={**sweep().set, "rollouts.num_workers": 1}, concurrent=1, **keys)
    (trial,) = run_sweep(config).trials
    assert trial.ended == "done"
    alone = run_sweep(sweep(runs=str(tmp_path / "alone"), concurrent=1, **keys)).trials[0]
    assert [look["score"] for look in trial.looks] == [look["score"] for look in alone.looks]

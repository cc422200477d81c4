"""Runs' folders as records."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
import pytest
from comparebed import config, metrics, write_run
from gymnasium import spaces

from distil.compare.folders import Reader, find_runs
from distil.errors import InputError
from distil.journal import Journal
from distil.rundir import RunDir
from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec


def read(path: Path):
    return Reader().run(path)


def test_a_finished_run_is_read_whole(tmp_path: Path) -> None:
    reports = [metrics(200.0, "tune", expert_labels=1000), metrics(300.0, "tune", expert_labels=2000), metrics(310.0)]
    found = read(write_run(tmp_path / "runs" / "a-001", config(seed=4), reports, run_id="abc"))
    assert (found.state, found.role, found.seed, found.mlflow_id) == ("finished", "run", 4, "abc")
    assert [point.budget["expert_labels"] for point in found.points] == [1000, 2000, 4000]
    assert found.final.score == 310.0
    assert found.commit == "0123456789ab with changes"
    assert found.version == "0.1.0"
    assert found.store == "cartpole v3"  # the store is not there any more


def test_the_digest_of_the_store_is_that_of_the_snapshot(tmp_path: Path) -> None:
    """Its path is relative to the folder in which the run was started: where `runs` of the configuration leads to the run."""
    box = spaces.Box(-1, 1, (2,), np.float32)
    store = Store.create(tmp_path / "data" / "demos", StoreSpec(observation=observation_spec(box), action=action_spec(box)))
    version = store.snapshot().version
    settings = config(data__path="data/demos", runs="out/runs")
    folder = write_run(tmp_path / "out" / "runs" / "a-001", settings, [metrics(1.0)], snapshot=version)
    assert read(folder).store == f"demos v{version}, {store.snapshot().digest[:12]}"


def test_scores_inside_an_update_are_points_against_its_gradient_steps(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a-001", config(), [], finished=False)
    run = RunDir(folder)
    for index, scores in enumerate(([50.0, 60.0], [70.0])):
        for number, score in enumerate(scores, 1):
            run.append("watched", round=index, step=100 * number, num_steps=5, metrics=metrics_of_score(score))
        last = metrics(80.0, gradient_steps=200 * (index + 1)) | metrics_of_score(scores[-1])
        run.append("reported", round=index, report={"metrics": last, "snapshot": 1})
    found = [(p.score, p.budget["gradient_steps"], p.budget["expert_labels"]) for p in read(folder).points if not p.held_out]
    assert found == [(50.0, 100, 4000), (60.0, 200, 4000), (70.0, 300, 4000)]


def test_a_score_inside_an_update_may_say_what_was_spent(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a-001", config(), [], finished=False)
    spent = {"gradient_steps": 700, "wall_s": 3.5}
    RunDir(folder).append("watched", round=0, step=100, num_steps=5, metrics=metrics_of_score(50.0), spent=spent)
    report = metrics(80.0) | metrics_of_score(50.0)
    RunDir(folder).append("reported", round=0, report={"metrics": report, "snapshot": 1})
    point = read(folder).points[0]
    assert (point.budget["gradient_steps"], point.budget["wall_s"], point.budget["expert_labels"]) == (700, 3.5, 4000)


def metrics_of_score(score: float) -> dict[str, float]:
    return {name: value for name, value in metrics(score, "tune").items() if not name.startswith("budget/")}


def test_running_unfinished_and_damaged_runs_say_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a-001", config(), [metrics(1.0, "tune")], finished=False)
    assert read(folder).state == "unfinished"
    assert read(folder).reason == f"1 round reported; `distil train {folder} --resume`"
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read(folder).state == "running"
    (folder / "journal.jsonl").write_text("no json\n")
    assert read(folder).state == "unreadable"
    assert "damaged" in read(folder).reason


def test_a_path_names_a_run_a_folder_of_runs_or_a_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "runs" / "sweep"
    trial = write_run(sweep / "trials" / "t1", config(), [metrics(1.0, "tune")])
    confirmed = write_run(sweep / "confirm" / "t1-seed-5", config(seed=5), [metrics(1.0)])
    (sweep / "sweep.yaml").write_text("{}")
    run = write_run(tmp_path / "runs" / "a-001", config(), [metrics(1.0)])
    assert find_runs(sweep) == [trial, confirmed]
    assert [(found.role, found.trial) for found in Reader().read(sweep)] == [("trial", "t1"), ("confirmation", "t1")]
    assert find_runs(confirmed) == [confirmed]
    assert find_runs(run / "config.yaml") == find_runs(tmp_path / "runs") == [run]
    assert (read(run).role, read(run).trial) == ("run", "")
    with pytest.raises(InputError, match="no run there"):
        find_runs(tmp_path)


def test_a_sweeps_journal_says_which_trials_were_stopped_or_failed(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for name in ("a-1", "a-2", "a-3"):
        write_run(sweep / "trials" / name, config(), [metrics(1.0, "tune")], finished=name == "a-3")
    (sweep / "sweep.yaml").write_text("{}")
    journal = Journal(sweep / "sweep.jsonl")
    for name, how, facts in (
        ("a-1", "stopped", {}),
        ("a-2", "failed", {"fault": "x"}),
        ("a-3", "done", {}),
        ("a-4", "failed", {}),
    ):
        journal.append("ended", trial=name, how=how, **facts)
    found = [(record.name, record.state, record.reason) for record in Reader().read(sweep)]
    assert found == [("a-1", "stopped", ""), ("a-2", "failed", "x"), ("a-3", "finished", ""), ("a-4", "failed", "")]

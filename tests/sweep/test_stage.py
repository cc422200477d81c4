"""The decisions of a sweep, with trials that are only talked about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sweepbed import sweep

from distil.errors import RunError
from distil.session import Session
from distil.sweep.families import Metric, families
from distil.sweep.stage import Stage
from distil.sweep.state import SweepDir
from distil.sweep.sweep import run_sweep
from distil.sweep.trial import Look
from distil.types import silent

ASHA = {"kind": "asha", "first": 0.5, "factor": 2.0}


class Screen:
    """A progress that keeps what it is to show."""

    def __init__(self) -> None:
        self.shown = list[str]()

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None: ...

    def show(self, text: str) -> None:
        self.shown.append(text)


@contextmanager
def opened(folder: Path, progress: Any = silent, **keys: Any) -> Iterator[Stage]:
    config = sweep(runs=str(folder), **keys)
    state = SweepDir(config.folder) if config.folder.exists() else SweepDir.create(config)
    found = families(config)
    with Session(found[0].config, progress) as session, state.lock():
        stage = Stage(config, found, state, session, Metric.of("tune/normalised"), "")
        seed = config.seed
        stage._queue = [stage._searched(family, number) for family, number in stage._numbers()]
        stage._given, stage._num_planned = {seed: stage._granted(seed)}, len(stage._queue)
        yield stage


def look(fraction: float, score: float) -> Look:
    return Look(fraction=fraction, score=score, labels=10, metrics={"tune/normalised": score})


def test_families_take_turns_and_values_are_written_down_first(tmp_path: Path) -> None:
    with opened(tmp_path) as stage:
        names = []
        while (work := stage.next()) is not None:
            names.append(work.name)
            assert stage._folder.trials()[work.name].values
            assert (work.config["seed"], work.config["evaluation"]["episodes"]) == (0, 0)
    assert names == ["bc-000", "dagger-000", "bc-001", "dagger-001"]


def test_a_score_counts_once_and_a_decision_stays(tmp_path: Path, monkeypatch: Any) -> None:
    """CORRECTNESS 11: also if the driver is killed between the decision and its effect."""
    with opened(tmp_path, scheduler=ASHA) as stage:
        for _ in range(3):
            stage.next()
        assert stage.heard("bc-000", look(0.5, 0.9))
        assert stage.heard("bc-000", look(0.5, 0.9))
        monkeypatch.setattr(Stage, "_end", lambda *args, **keys: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.heard("bc-001", look(0.5, 0.1))
    monkeypatch.undo()
    with opened(tmp_path, scheduler=ASHA) as stage:
        assert stage._folder.trials()["bc-001"].ended is None
        assert not stage.heard("bc-001", look(0.5, 0.1))
        trials = stage._folder.trials()
        assert (trials["bc-001"].ended, len(trials["bc-001"].looks), len(trials["bc-000"].looks)) == ("stopped", 1, 1)
        stage.ended("bc-001", None)  # Tune tells of its end, too
        assert stage._folder.trials()["bc-001"].ended == "stopped"


def test_values_that_contradict_each_other_fail_their_trial_alone(tmp_path: Path) -> None:
    search = {"policy.head.kind": {"choice": ["deterministic", "categorical"]}}
    keys = {"families": {"bc": {"set": {"learner.validation_fraction": 0.0}, "search": search}}}
    with opened(tmp_path, **keys) as stage:
        stage._queue[0] = stage._searched(stage._families["bc"], 0)
        values = {"learner.patience": 3}
        stage._folder.journal.append("started", trial="bc-000", family="bc", values=values, number=0, of=None, seed=0)
        stage._queue[0] = stage._folder.trials()["bc-000"]
        work = stage.next()
        assert work is not None
        assert work.name == "bc-001"
        failed = stage._folder.trials()["bc-000"]
        assert failed.ended == "failed"
        assert "patience needs held-out episodes" in failed.fault


def test_confirmations_have_the_values_of_their_trial_and_held_out_episodes(tmp_path: Path) -> None:
    with opened(tmp_path) as stage:
        stage.next()
        trial = stage._folder.trials()["bc-000"]
        of = {"trial": "bc-000-seed-1", "family": "bc", "values": trial.values, "number": 0, "of": "bc-000", "seed": 1}
        stage._folder.journal.append("started", **of)
        stage._given = {1: stage._granted(1)}
        work = stage._work(stage._folder.trials()["bc-000-seed-1"])
    assert (work.config["seed"], work.config["evaluation"]["episodes"]) == (1, 3)
    assert work.config["learner"]["batch_size"] == trial.values["learner.batch_size"]
    assert work.folder.endswith("confirm/bc-000-seed-1")


@pytest.mark.parametrize(("labels", "expected"), [(False, ["bc-000", "bc-001"]), (True, ["bc-000", "bc-003"])])
def test_the_front_is_confirmed_if_labels_are_an_objective(tmp_path: Path, labels: bool, expected: list[str]) -> None:
    points = [(0.9, 900), (0.8, 950), (0.5, 500), (0.4, 100)]
    keys = {"searcher": {"kind": "tpe", "trials": 4, "random": 4, "labels": labels}, "confirm": {"best": 2}}
    with opened(tmp_path, families={"bc": {}}, **keys) as stage:
        for score, paid in points:
            work = stage.next()
            assert work is not None
            stage.heard(work.name, Look(fraction=1.0, score=score, labels=paid, metrics={}))
            stage.ended(work.name, None)
        assert [trial.name for trial in stage._chosen()] == expected


def test_running_trials_and_the_best_so_far_are_in_sight(tmp_path: Path) -> None:
    screen = Screen()
    with opened(tmp_path, screen) as stage:
        for _ in range(4):
            stage.next()
        stage.heard("bc-000", look(0.5, 0.75))
        assert "bc-000" in screen.shown[-1]
        assert "50%" in screen.shown[-1]
        assert "0.75" in screen.shown[-1]
        for name in ("bc-000", "dagger-000", "bc-001"):
            stage.ended(name, None)
        assert screen.shown[-1].index("dagger-001") < screen.shown[-1].index("bc-000")
        stage.ended("dagger-001", "it broke")
        assert screen.shown[-1] == ""


def test_trials_run_on_the_cluster_of_the_recipe(tmp_path: Path) -> None:
    config = sweep(runs=str(tmp_path), set={**sweep().set, "rollouts.address": "127.0.0.1:1"})
    with pytest.raises(RunError, match=r"127\.0\.0\.1:1"):
        run_sweep(config)

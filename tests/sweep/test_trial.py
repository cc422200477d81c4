import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fencebed import holder
from sweepbed import sweep

from distil.config import public, validate
from distil.errors import SupersededError
from distil.fence import hold
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.sweep.families import families, trial_config
from distil.sweep.trial import Look, Work, carry_out
from distil.tracking.outbox import Outbox


class Stopped(BaseException):
    """What ends a trial's thread in Ray Tune."""


def work(folder: Path, family: str, **more: Any) -> Work:
    config = sweep(runs=str(folder))
    base = next(found for found in families(config) if found.name == family).config
    found = trial_config(config, base, {}, where="x", more={"learner.checkpoint_every": 5, **more})
    (folder / "trials").mkdir(exist_ok=True)
    return Work(
        name="t", folder=str(folder / "trials" / "t"), config=public(found), metric="tune/normalised", sign=1.0, parent=""
    )


@pytest.mark.parametrize(("family", "fractions"), [("bc", [0.5, 1.0]), ("dagger", [0.5, 1.0])])
def test_every_score_is_told_with_the_fraction_of_the_trials_own_budget(tmp_path: Path, family: str, fractions: list) -> None:
    looks = list[Look]()
    carry_out(work(tmp_path, family), looks.append)
    assert [look.fraction for look in looks] == fractions
    assert all(look.labels > 0 and "budget/cpu_s" in look.metrics for look in looks)
    assert RunDir(tmp_path / "trials" / "t").is_finished
    again = list[Look]()
    carry_out(work(tmp_path, family), again.append)  # a finished run tells what it reached, and does nothing else
    assert [(look.fraction, look.score) for look in again] == [(look.fraction, look.score) for look in looks]


@pytest.mark.parametrize("family", ["bc", "dagger"])
def test_a_trial_that_is_stopped_can_be_continued_and_ends_with_the_same_scores(tmp_path: Path, family: str) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, parts = list[Look](), list[Look]()
    carry_out(work(tmp_path / "whole", family), whole.append)

    def stop(look: Look) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        carry_out(work(tmp_path / "parts", family), stop)
    carry_out(work(tmp_path / "parts", family), parts.append)
    assert [(look.fraction, look.score) for look in parts] == [(look.fraction, look.score) for look in whole]


def test_a_trial_of_a_sweep_that_was_taken_over_does_not_start(tmp_path: Path) -> None:
    one = replace(work(tmp_path, "bc"), attempt=1)
    with hold(tmp_path, "sweep"):
        carry_out(one, lambda look: None)
    shutil.rmtree(one.folder)
    with pytest.raises(SupersededError):
        carry_out(one, lambda look: None)
    assert not Path(one.folder).exists()


def test_a_trial_takes_its_run_over_from_an_earlier_process(tmp_path: Path) -> None:
    one = work(tmp_path, "bc")
    carry_out(one, lambda look: None)
    with holder(Path(one.folder)) as older:
        carry_out(one, lambda look: None)
        older.communicate()
        assert older.returncode == 1


def test_the_password_of_mlflow_stays_with_the_sweeps_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = {"tracking.enabled": True, "tracking.uri": "postgresql://me:hunter22@db/x"}
    one = work(tmp_path, "bc", **tracking)
    assert "hunter22" not in one.to_json()
    carry_out(one, list[Look]().append)
    kinds = [record["kind"] for record, _ in Outbox(Path(one.folder)).read(0)]
    assert (kinds[0], kinds[-1]) == ("start", "end")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter22" in path.read_bytes()]


def test_a_look_says_whether_the_run_would_end_with_its_policy(tmp_path: Path) -> None:
    sqil = {"kind": "sqil", "steps": 120, "steps_per_round": 40, "random_steps": 0, "tuning_episodes": 2, "tune_every": 1}
    more = {"data": {"path": str(tmp_path / "demos"), "episodes": 2}, "learner": {"batch_size": 8}, "runs": str(tmp_path)}
    base = families(sweep())[0].config.model_dump(mode="json", exclude_unset=True)
    config = validate(RunConfig, base | more | {"algorithm": sqil})
    looks = list[Look]()
    carry_out(
        Work(name="t", folder=str(tmp_path / "t"), config=public(config), metric="tune/wasserstein", sign=-1.0, parent=""),
        looks.append,
    )
    assert len(looks) >= 2
    assert [look.kept for look in looks] == [
        all(look.score > other.score for other in looks[:i]) for i, look in enumerate(looks)
    ]
    assert not all(look.kept for look in looks), "a case that tells them apart"


def test_work_and_looks_survive_as_text() -> None:
    one = Work(name="t", folder="f", config={"a/b": {"c": 1}}, metric="m", sign=-1.0, parent="")
    assert Work.from_json(one.to_json()) == one
    look = Look(fraction=0.1 + 0.2, score=1 / 3, labels=4, metrics={"tune/return_mean": 1e-17})
    assert Look.from_json(look.to_json()) == look

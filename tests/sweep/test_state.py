from pathlib import Path

import pytest
from sweepbed import sweep

from distil.errors import InputError, SupersededError
from distil.sweep.state import SweepDir

LOOK = {"labels": 100, "metrics": {}, "continues": True, "kept": True}


def folder(path: Path) -> SweepDir:
    return SweepDir.create(sweep(runs=str(path)))


def begin(state: SweepDir, name: str, number: int = 0, of: str | None = None) -> None:
    state.journal.append("started", trial=name, family="bc", values={"a": 1}, number=number, of=of, seed=0)


def test_the_folder_keeps_the_sweep_and_is_made_once(tmp_path: Path) -> None:
    state = folder(tmp_path)
    assert state.config == sweep(runs=str(tmp_path))
    assert state.is_sweep
    with pytest.raises(InputError, match="exists already; continue it with --resume"):
        folder(tmp_path)


def test_the_journal_says_what_each_trial_reached(tmp_path: Path) -> None:
    state = folder(tmp_path)
    for number, name in enumerate(["bc-000", "bc-001", "bc-002"]):
        begin(state, name, number)
    state.journal.append("heard", trial="bc-001", fraction=0.5, score=0.3, **LOOK)
    state.journal.append("heard", trial="bc-000", fraction=0.5, score=0.9, **LOOK)
    state.journal.append("heard", trial="bc-000", fraction=1.0, score=0.2, **LOOK | {"kept": False})
    state.journal.append("ended", trial="bc-001", how="stopped")
    state.journal.append("ended", trial="bc-002", how="failed", fault="it broke")
    again = SweepDir(state.path)
    found = again.trials()
    assert [(trial.name, trial.score, trial.ended) for trial in found.values()] == [
        ("bc-000", 0.9, None),  # it would end with the earlier policy
        ("bc-001", 0.3, "stopped"),
        ("bc-002", None, "failed"),
    ]
    assert found["bc-002"].fault == "it broke"
    assert [(score.trial, score.value) for score in again.scores()] == [("bc-001", 0.3), ("bc-000", 0.9), ("bc-000", 0.2)]
    assert [tried.score for tried in again.tried("bc")] == [0.3]


def test_confirmations_are_no_results_of_the_search(tmp_path: Path) -> None:
    state = folder(tmp_path)
    begin(state, "bc-000-seed-1", of="bc-000")
    state.journal.append("heard", trial="bc-000-seed-1", fraction=1.0, score=0.3, **LOOK)
    state.journal.append("ended", trial="bc-000-seed-1", how="done")
    assert state.tried("bc") == []
    assert state.trials()["bc-000-seed-1"].folder == "confirm/bc-000-seed-1"


def test_two_drivers_are_one_too_many(tmp_path: Path) -> None:
    state = folder(tmp_path)
    with state.lock(), pytest.raises(InputError, match="another process is running this sweep"), SweepDir(state.path).lock():
        pass


def test_a_driver_whose_sweep_was_taken_over_writes_nothing(tmp_path: Path) -> None:
    state = folder(tmp_path)
    with state.lock() as held:
        begin(state, "bc-000")
        held.attempt.beat.unlink()
        with pytest.raises(SupersededError):
            begin(state, "bc-001")
    assert list(state.trials()) == ["bc-000"]


def test_a_sweep_is_continued_with_its_own_settings(tmp_path: Path) -> None:
    state = folder(tmp_path)
    state.require_same(sweep(runs=str(tmp_path), concurrent=7, retries=0))
    with pytest.raises(InputError, match=r"cannot resume with other settings: looks \(2 then, 3 now\)"):
        state.require_same(sweep(runs=str(tmp_path), looks=3))


def test_a_folder_that_was_moved_is_that_sweep(tmp_path: Path) -> None:
    state = folder(tmp_path / "before")
    state.path.rename(tmp_path / "after")
    found = SweepDir(tmp_path / "after")
    assert (found.config.name, found.config.folder) == ("after", tmp_path / "after")

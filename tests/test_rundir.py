import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from powercut import PowerCut

from distil.errors import InputError, RunError
from distil.plans import RoundReport, Spent
from distil.rundir import RunDir, versions


def test_runs_of_a_name_are_numbered_or_named(tmp_path: Path) -> None:
    first = RunDir.create(tmp_path, "a", "seed: 0\n")
    second = RunDir.create(tmp_path, "a", "seed: 1\n")
    other = RunDir.create(tmp_path, "a-b", "seed: 2\n")
    named = RunDir.create(tmp_path, "a", "name: a\n", folder="mine")
    foreign = RunDir.create(tmp_path, "b", "name: b\n", folder="a-007")
    assert [run.name for run in (first, second, other, named)] == ["a-001", "a-002", "a-b-001", "mine"]
    assert [RunDir.all(tmp_path, name) for name in ("a", "b", "c")] == [[first, second, named], [foreign], []]
    for taken in ("mine", "a-001"):
        with pytest.raises(InputError, match=rf"{taken}: exists already; continue it with --resume"):
            RunDir.create(tmp_path, "a", "", folder=taken)
    assert RunDir.create(tmp_path, "a", "").name == "a-008"


def test_the_folder_says_what_ran(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a", "seed: 0\n")
    assert (run.path / "config.yaml").read_text() == "seed: 0\n"
    saved = json.loads((run.path / "versions.json").read_text())
    assert saved["packages"]["torch"]
    assert saved["python"] == sys.version.split()[0]


def test_git_state_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert versions()["git"] is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    (tmp_path / "new.py").touch()
    state = versions()["git"]
    assert len(state["commit"]) == 40
    assert state["changed_files"] == ["?? new.py"]


def test_the_journal_says_what_is_done(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a", "")
    report = RoundReport(index=0, snapshot=3, policy_version=1, spent=Spent(env_steps=3), metrics={"eval/return_mean": 1.5})
    run.append("collected", round=0, snapshot=3)
    assert run.reports() == []
    run.append("reported", round=0, report=report.to_json())
    assert run.reports() == RunDir(run.path).reports() == [report]
    assert run.find("collected", 0) == {"kind": "collected", "round": 0, "snapshot": 3}
    assert run.find("collected", 1) is None
    assert [entry["kind"] for entry in run.journal()] == ["collected", "reported"]
    assert [entry["kind"] for entry in run.journal("collected")] == ["collected"]


def test_to_hold_a_run_is_to_read_its_journal_as_it_is_then(tmp_path: Path) -> None:
    run, other = RunDir.create(tmp_path, "a", ""), RunDir(tmp_path / "a-001")
    assert run.journal() == []
    other.append("collected", round=0)  # another process held the run meanwhile
    with run.lock():
        assert run.find("collected", 0) is not None


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a", "")
    with run.lock():
        code = f"from pathlib import Path; from distil.rundir import RunDir\nwith RunDir(Path({str(run.path)!r})).lock(): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
        assert done.returncode == 1
        assert "another process is running this run" in done.stderr
    with run.lock():
        pass


def test_a_power_cut_loses_nothing_of_a_run(tmp_path: Path, power_cut: PowerCut) -> None:
    """Issue 8, number 24: neither config.yaml nor the run's folder was flushed."""
    run = RunDir.create(tmp_path / "deep" / "runs", "a", "name: a\n")
    with run.lock():
        for number in range(2):
            run.append("collected", round=number)
            assert power_cut.lost(tmp_path) == []
        run.finish({"eval/return_mean": 1.0})
    assert power_cut.lost(tmp_path) == []
    assert json.loads((run.path / "results.json").read_text()) == {"eval/return_mean": 1.0}


def test_a_disk_that_takes_little_at_once_gets_everything(tmp_path: Path, power_cut: PowerCut) -> None:
    power_cut.short = 3
    run = RunDir.create(tmp_path, "a", "name: a\n")
    run.append("collected", round=0)
    assert run.config.read_text() == "name: a\n"
    assert RunDir(run.path).journal() == [{"kind": "collected", "round": 0}]


def test_a_run_folder_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("distil.rundir.versions", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            RunDir.create(tmp_path, "a", "name: a\n")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()  # an empty folder is nobody's
    run = RunDir.create(tmp_path, "a", "name: a\n", folder="mine")
    (run.path / ".journal.0123456789abcdef.tmp").touch()  # a killed process left it
    with run.lock():
        assert sorted(p.name for p in run.path.iterdir()) == ["attempts", "config.yaml", "versions.json"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(InputError, match=r"other: exists already and is not a run's folder"):
        RunDir.create(tmp_path, "a", "", folder="other")


def test_where_no_folder_can_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "runs", Path("/proc/none")):
        with pytest.raises(InputError, match=r"no folder can be made there \(.*\); choose another one"):
            RunDir.create(root, "a", "")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"a-001: no disk space left"):
        RunDir.create(tmp_path, "a", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["baselines", "labels"])
def test_a_folder_that_runs_share_is_no_new_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"--run {name}: the folder of that name holds what runs share; choose another name"):
        RunDir.named(tmp_path, name).require_new()
    assert RunDir.named(tmp_path, name).path == tmp_path / name  # one of an earlier version is still found

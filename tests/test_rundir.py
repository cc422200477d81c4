import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distil.errors import InputError
from distil.plans import RoundReport
from distil.rundir import RunDir, versions


def test_runs_of_a_name_are_numbered_and_the_newest_is_resumed(tmp_path: Path) -> None:
    first = RunDir.create(tmp_path, "a", "seed: 0\n")
    second = RunDir.create(tmp_path, "a", "seed: 1\n")
    other = RunDir.create(tmp_path, "a-b", "seed: 2\n")
    assert [run.name for run in (first, second, other)] == ["a-001", "a-002", "a-b-001"]
    assert RunDir.latest(tmp_path, "a") == second
    with pytest.raises(InputError, match="no run to resume"):
        RunDir.latest(tmp_path, "b")


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


def test_a_torn_line_is_neither_read_nor_kept(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a", "")
    report = RoundReport(index=0, snapshot=3, policy_version=1, metrics={"eval/return_mean": 1.5})
    run.append("collected", round=0, snapshot=3)
    with (run.path / "journal.jsonl").open("a") as file:
        file.write('{"kind": "reported", "rep')  # the process was killed here
    assert run.reports() == []
    run.append("reported", round=0, report=report.to_json())
    assert run.reports() == [report]
    assert run.find("collected", 0) == {"kind": "collected", "round": 0, "snapshot": 3}
    assert run.find("collected", 1) is None


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a", "")
    with run.lock():
        code = f"from pathlib import Path; from distil.rundir import RunDir\nwith RunDir(Path({str(run.path)!r})).lock(): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
        assert done.returncode == 1
        assert "another process is running this run" in done.stderr
    with run.lock():
        pass

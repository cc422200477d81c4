"""What MLflow shows of runs whose process was killed, and of those that are continued then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fencebed import ELSEWHERE, FAST, holder
from trackingbed import record, rows

from distil import fence
from distil.abandoned import end_abandoned
from distil.rundir import RunDir
from distil.tracking.outbox import Outbox
from distil.tracking.sync import sync

KILLED = """
import os, sys
from pathlib import Path
from distil.rundir import RunDir
from distil.tracking import TrackingConfig
run = RunDir.create(Path(sys.argv[1]), "a", "name: a\\n")
with run.lock():
    tracker = TrackingConfig(uri=sys.argv[2]).build("x", run.path, sends=False)
    tracker.start("a", {"seed": 0})
    tracker.log({"loss": 1.0}, 1)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def killed(tmp_path: Path) -> RunDir:
    """A run whose process got a SIGKILL."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "runs"), f"sqlite:///{tmp_path}/mlflow.db"]
    assert subprocess.run(command, check=False).returncode == -9
    return RunDir(tmp_path / "runs/a-001")


def status(folder: Path) -> list[tuple[str, str]]:
    sync([folder / "runs"])
    return rows(folder / "mlflow.db", "SELECT name, status FROM runs ORDER BY name")


def test_a_killed_run_is_no_longer_running_and_a_resumed_one_is_again(killed: RunDir, tmp_path: Path) -> None:
    assert status(tmp_path) == [("a", "RUNNING")]
    assert end_abandoned(tmp_path / "runs") == [killed.path]
    assert end_abandoned(tmp_path / "runs") == []
    assert status(tmp_path) == [("a", "KILLED")]
    *_, (last, _), (end, _) = Outbox(killed.path).read(0)
    assert end["at"] == last["at"]  # when it was last known to run
    with killed.lock():
        tracker = record(killed.path, f"sqlite:///{tmp_path}/mlflow.db", "x")
        assert status(tmp_path) == [("a", "RUNNING")]
        assert end_abandoned(tmp_path / "runs") == []  # this process holds it
        tracker.finish()
    assert status(tmp_path) == [("a", "FINISHED")]
    assert end_abandoned(tmp_path / "runs") == []


def test_a_run_on_another_host_is_running_while_its_lease_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"LEASE_S": 2.0, "VALID_S": 1.5, "RENEW_S": 0.1}.items():
        monkeypatch.setattr(fence, name, seconds)
    run = RunDir.create(tmp_path / "runs", "a", "name: a\n")
    record(run.path, "sqlite:///none.db", "x")
    with holder(run.path, ELSEWHERE, FAST) as process:
        assert end_abandoned(tmp_path / "runs") == []
        process.kill()
    assert end_abandoned(tmp_path / "runs") == [run.path]


def test_finished_runs_and_folders_that_nobody_locked_are_left_alone(killed: RunDir, tmp_path: Path) -> None:
    killed.finish({})
    record(tmp_path / "runs/b", "sqlite:///none.db", "x")
    assert end_abandoned(tmp_path / "runs") == []
    assert Outbox(killed.path).left() == 2

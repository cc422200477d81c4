import json
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest
from trackingbed import free_port

from distil.rundir import RunDir
from distil.tracking import TrackingConfig


def distil(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "distil", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_sync_sends_the_runs_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs/a-001"
    folder.mkdir(parents=True)
    tracker = TrackingConfig().build("x", folder, sends=False)
    tracker.start("a-001", {"seed": 0})
    tracker.finish()
    done = distil(tmp_path, "sync", "--json")
    assert json.loads(done.stdout) == {"runs": 1, "records": 2, "to": [f"sqlite:///{tmp_path}/mlflow.db"]}
    assert distil(tmp_path, "sync", "runs").stdout.startswith("0 records of 1 runs sent")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT name, status FROM runs").fetchall() == [("a-001", "FINISHED")]


def test_sync_says_that_a_run_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDir.create(tmp_path / "runs", "a", "name: a\n")
    with run.lock():
        TrackingConfig().build("x", run.path, sends=False).start("a-001", {"seed": 0})
    assert distil(tmp_path, "sync").stdout.startswith("2 records of 1 runs sent")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT name, status FROM runs").fetchall() == [("a-001", "KILLED")]


def test_nothing_to_sync_is_one_line(tmp_path: Path) -> None:
    done = distil(tmp_path, "sync")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "distil: runs: no run there has records for MLflow; give a run's folder or one that holds runs\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--uri", "nonsense://me:hunter22@x"], "MLflow at nonsense://me:***@x: "),
        (["--port", "-5"], "'--port': -5 is not in the range"),
        ([], "mlflow.db: this folder has no runs yet"),
    ],
)
def test_a_server_that_cannot_start_is_one_line(options: list[str], words: str, tmp_path: Path) -> None:
    done = distil(tmp_path, "ui", *options)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter22" not in done.stdout + done.stderr


def test_a_stopped_server_leaves_no_worker(tmp_path: Path) -> None:
    """SIGTERM or Ctrl-C to `distil ui` also ends the processes that its server started, whatever they do against it."""
    server = (
        "import os, signal, sys, time; child = os.fork(); child or os.setsid()\n"
        "child or signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), child, file=sys.stderr, flush=True); time.sleep(600)"
    )
    code = (
        "import sys; from distil.cli.main import _stop_on_signals; from distil.cli.tracking import _serve\n"
        f"_stop_on_signals(); sys.exit(_serve([sys.executable, '-c', {server!r}], {{'X': '1'}}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        pids = {int(word) for _ in range(2) for word in process.stderr.readline().split()} - {0}
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == ""  # it is closed when the last of them has ended; what stopped it is no fault
        assert process.communicate()[0] == ""
        assert process.returncode == 0
    assert len(pids) == 2


@pytest.mark.slow
def test_the_real_server_shows_the_view_and_leaves_no_process(tmp_path: Path) -> None:
    """MLflow's server starts seven job processes in sessions of their own unless it is told not to."""
    TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db").check("mine")
    port = free_port()
    command = [sys.executable, "-m", "distil", "ui", "--no-open", "--port", str(port)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **quiet) as process, ExitStack() as ending:
        ending.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"MLflow on http://127.0.0.1:{port}")
        link = f"http://127.0.0.1:{port}/#/experiments/1/runs?viewStateShareKey=distil"
        assert process.stdout.readline().split() == ["mine", link]
        deadline = time.monotonic() + 120
        while not answers(port):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        started = psutil.Process(process.pid).children(recursive=True)
        assert [each.cmdline() for each in started if any("huey" in word for word in each.cmdline())] == []
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert len(started) > 0
    assert psutil.wait_procs(started, timeout=10)[1] == []


def answers(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False

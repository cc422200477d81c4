"""On a real cluster: the one Ray session of the tests, whose dashboard takes jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jobbed import Proxy, project

import distil.api
from distil.cli.main import cli
from distil.errors import InputError
from distil.store import Store

NO_CLUSTER = "http://127.0.0.1:1"


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["submit", *words], catch_exceptions=False)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, name)  # another test's
    return project(tmp_path)


@pytest.fixture
def address(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The dashboard of the session; commands run where its token is."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return f"http://{ray_session._private.worker.get_dashboard_url()}"


@pytest.fixture
def proxy(address: str) -> Iterator[Proxy]:
    host, _, port = address.removeprefix("http://").partition(":")
    proxy = Proxy((host, int(port)))
    yield proxy
    proxy.close()


def test_a_dry_run_shows_what_travels_and_asks_nobody(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    (mine / ".env").write_text("1")
    words = ["--env", "API_KEY", "--root", "/shared", "--dry-run"]
    done = run(*words, "--", "train", "recipe.yaml", "--run", "one", "learner.num_steps=5")
    assert done.exit_code == 0
    assert (
        "train recipe.yaml --run one learner.num_steps=5 --resume runs=/shared/runs data.path=/shared/data/mine" in done.stdout
    )
    assert (
        "API_KEY, DISTIL_RAY_SESSION, RAY_ENABLE_UV_RUN_RUNTIME_ENV, RAY_JOB_STOP_SIGNAL, RAY_JOB_STOP_WAIT_TIME_S"
        in done.stdout
    )
    assert "mine/words.py" in done.stdout
    assert "secret" not in done.stdout
    data = json.loads(run(*words, "--json", "train", "recipe.yaml").stdout)
    assert data["files"].keys() == {"mine/__init__.py", "mine/env.py", "mine/words.py", "recipe.yaml"}
    assert data["bytes"] == sum(data["files"].values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "recipe.yaml", "learner.num_step=1"], "did you mean num_steps"),
        (["train", "recipe.yaml"], "--root /shared"),
        (["--root", "/shared", "train", "recipe.yaml", "env.target=mine.other:Env"], "no module named"),
        (["--root", "/shared", "--env", "NONE", "train", "recipe.yaml"], "--env NONE: not set"),
        (["--root", "/shared", "--label", "zone", "train", "recipe.yaml"], "--label zone: write KEY=VALUE"),
        (["--root", "/shared", "--label", "zone=a b", "train", "recipe.yaml"], "is no label's value"),
        (["--root", "/shared", "--dry-run", "evaluate", "../one"], r"RUN=\.\./one"),
        (["--root", "/shared", "sweep", "pendulum", "searcher.trails=3"], "did you mean"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(mine: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("--address", NO_CLUSTER, *words)


def test_options_of_the_command_are_its_own(mine: Path) -> None:
    assert "no such option" in CliRunner().invoke(cli, ["submit", "train", "recipe.yaml", "--rum", "x"]).output.lower()
    assert "--resume" in run("train", "--help").stdout


def test_a_sweep_moves_as_a_whole(mine: Path) -> None:
    plan = json.loads(run("--root", "/shared", "--dry-run", "--json", "sweep", "pendulum").stdout)
    assert "distil sweep pendulum --resume runs=/shared/runs" in plan["entrypoint"]
    assert '"tracking.uri": "sqlite:////shared/mlflow.db"' in plan["entrypoint"]
    family = "families.bc.set={tracking.uri: 'sqlite:///own.db'}"
    with pytest.raises(InputError, match=r"tracking\.uri=own\.db of a family is relative"):
        run("--root", "/shared", "--dry-run", "sweep", "pendulum", family)


@pytest.mark.ray
def test_a_job_is_followed_through_lost_connections_to_its_exit_code(
    mine: Path, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line once, the answer to the submission is lost, and the result is at its home."""
    monkeypatch.setenv("LINES", "100")
    proxy.swallow, proxy.every = b"POST /api/jobs/", 3
    words = ["--python", sys.executable, "--env", "LINES", "--root", str(tmp_path / "shared")]
    done = run("--address", proxy.url, "--id", "talking", *words, "--", "collect", "recipe.yaml", "--json")
    assert done.exit_code == 0, done.output
    lines = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("line ")]
    assert "threads: None" in done.stdout  # those of a run without Ray
    assert lines == [str(number) for _ in range(len(lines) // 100) for number in range(100)]
    assert len(lines) >= 300
    assert proxy.cuts > 1
    assert Store.open(tmp_path / "shared/data/mine").snapshot().num_episodes == 3
    proxy.every = 0
    jobs = json.loads(run("list", "--address", proxy.url, "--json").stdout)["jobs"]
    assert [found["status"] for found in jobs if found["id"] == "talking"] == ["SUCCEEDED"]
    assert run("logs", "talking", "--address", proxy.url).stdout in done.stdout
    again = run("--address", proxy.url, "--json", "--id", "talking", *words, "--", "collect", "recipe.yaml", "--json")
    assert json.loads(again.stdout)["exit_code"] == 0
    assert "was submitted before" in again.stderr


@pytest.mark.ray
def test_the_faults_of_a_job_reach_the_user(mine: Path, address: str) -> None:
    failed = run("--address", address, "--python", sys.executable, "--", "evaluate", "/nowhere/run")
    assert failed.exit_code == 2
    assert "distil: /nowhere/run: no run there" in failed.stdout
    assert "FAILED with exit code 2" in failed.stderr
    missing = run("--address", address, "--python", "/nowhere/python", "--", "evaluate", "/nowhere/run")
    assert missing.exit_code == 1
    assert "`/nowhere/python` on the cluster has no distil: install distil on every node" in missing.stderr
    with pytest.raises(InputError, match="--label zone=b: no node has it"):
        run("--address", address, "--label", "zone=b", "--", "evaluate", "/nowhere/run")


@pytest.mark.ray
def test_a_job_outlives_its_client_is_stopped_and_continues(mine: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the client alone; `stop` interrupts the run as Ctrl-C would; the same command continues it."""
    root = mine.parent / "shared"
    monkeypatch.setenv("LINES", "1")
    monkeypatch.setenv("PAUSE", "600")
    before = ["-m", "distil", "submit", "--address", address, "--python", sys.executable, "--env", "LINES", "--env", "PAUSE"]
    command = [*before, "--root", str(root), "--id", "first", "--", "train", "recipe.yaml", "--run", "one"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(distil.__file__).parents[1]), os.environ["PYTHONPATH"]])
    }
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        next(line for line in client.stdout if line.startswith("line 0"))
        client.send_signal(signal.SIGINT)
        rest = client.stderr.read()
    assert client.returncode == 130
    assert "job first continues. Follow it: distil submit logs first --follow" in rest
    assert json.loads(run("status", "first", "--address", address, "--json").stdout)["status"] == "RUNNING"
    assert "interrupted; its run is kept" in run("stop", "first", "--address", address).stdout
    followed = run("logs", "first", "--follow", "--address", address)
    assert followed.exit_code == 130
    assert "distil: interrupted" in followed.stdout
    monkeypatch.setenv("PAUSE", "0")
    words = ["--python", sys.executable, "--env", "PAUSE", "--root", str(root), "--", "train", "recipe.yaml", "--run", "one"]
    assert run("--address", address, *words).exit_code == 0
    assert [path.name for path in (root / "runs").glob("one*")] == ["one"]
    assert distil.api.open_run(root / "runs/one").reports

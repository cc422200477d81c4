"""Two attempts of one run: the newer one takes it over from a living process, and the result is that of an undisturbed run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fencebed import process, stream

import distil
from distil import fence
from distil.losscurve import LossCurve
from distil.store import Store
from distil.tracking.outbox import Outbox

SETTINGS: dict[str, Any] = {
    "env": {"id": "CartPole-v1", "max_episode_steps": 40},
    "expert": {"kind": "scripted"},
    "rollouts": {"num_workers": 0, "num_envs": 2},
    "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
    "algorithm": {"kind": "dagger", "rounds": 2, "episodes_per_round": 4, "check_episodes": 2, "tuning_episodes": 2},
    "learner": {"num_steps": 30, "batch_size": 16, "checkpoint_every": 10},
    "data": {"path": "demos", "episodes": 4},
    "evaluation": {"episodes": 4},
    "tracking": {"enabled": False},
}
ASKED = """
import signal, sys
from distil import fence
from distil.cli import main as cli
from distil.console import Console
class Waits(Console):
    def __call__(self, what, done, total, /, **figures):
        if what == stage and done:
            print("there", flush=True)
            while True:
                signal.pause()
fence.RENEW_S = 0.1
stage = sys.argv.pop(1)
cli.console = lambda as_json: Waits(quiet=True)
cli.main()
"""
STANDS_STILL = """
import sys, threading
import distil
from distil import fence
def progress(what, done, total, /, **figures):
    if what == "collect" and done and not told:
        told.append(print("there", flush=True))
        sys.stdin.readline()
def train():
    try:
        distil.train("recipe.yaml", run="mine", resume=True, progress=progress)
    except distil.errors.SupersededError as error:
        print(error, flush=True)
told = []
fence.LEASE_S, fence.VALID_S, fence.RENEW_S = 2.0, 1.5, 0.1
thread = threading.Thread(target=train)  # which no signal interrupts: it notices by itself
thread.start()
thread.join()
"""


def train(**more: Any) -> distil.Run:
    return distil.train("recipe.yaml", more, run="mine", resume=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> distil.Run:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("recipe.yaml").write_text(yaml.safe_dump(SETTINGS))
        train()
    return distil.open_run(folder / "runs/mine")


def require_equal(run: distil.Run, other: distil.Run) -> None:
    mine, theirs = (one.policy().ref.arrays for one in (run, other))
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    facts = [
        {
            key: value
            for key, value in one.metrics.items()
            if key.startswith(("eval/", "train/loss", "budget/")) and key[-2:] != "_s"
        }
        for one in (run, other)
    ]
    assert facts[0] == facts[1]
    uids = [sorted(Store.open(one.path.parent.parent / "demos").snapshot().episodes.uid.tolist()) for one in (run, other)]
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == len(uids[0])


@pytest.mark.parametrize("what", ["collect", "update", "evaluate policy"])
def test_a_living_process_stops_and_the_newer_one_continues(what: str, undisturbed: distil.Run) -> None:
    Path("recipe.yaml").write_text(yaml.safe_dump(SETTINGS))
    tracking = {"tracking.enabled": what == "update", "tracking.uri": "http://127.0.0.1:1"}
    command = ("train", "recipe.yaml", "--run", "mine", "--resume", *(f"{key}={value}" for key, value in tracking.items()))
    with process(ASKED, what, *command) as older:
        run = train(**tracking)
        _, words = older.communicate()
    assert older.returncode == 3, words
    last = words.splitlines()[-1]
    assert last.startswith("distil: runs/mine: taken over by attempt 2 (process ")
    require_equal(run, undisturbed)
    if what == "update":
        records = [record for record, _ in Outbox(run.path).read(0)]
        assert [r["kind"] for r in records if r["kind"] in ("start", "end")] == ["start", "end", "start", "end"]
        assert [r["status"] for r in records if r["kind"] == "end"] == ["KILLED", "FINISHED"]


def test_a_process_that_stood_still_writes_nothing_more(undisturbed: distil.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped until its lease has lapsed and the newer attempt is done; it would commit its episodes next."""
    for name, seconds in {"LEASE_S": 2.0, "VALID_S": 1.5, "RENEW_S": 0.1}.items():
        monkeypatch.setattr(fence, name, seconds)
    Path("recipe.yaml").write_text(yaml.safe_dump(SETTINGS))
    with process(STANDS_STILL) as older:
        older.send_signal(signal.SIGSTOP)
        run = train()
        before = files(run)
        stream(older.stdin).write("go on\n")
        stream(older.stdin).flush()
        older.send_signal(signal.SIGCONT)
        words, _ = older.communicate()
    assert words.startswith("runs/mine: taken over by attempt 2 (process ")
    assert files(run) == before
    require_equal(run, undisturbed)


def files(run: distil.Run) -> dict[Path, bytes]:
    """Return the run's files, and the versions of its demonstrations; shards that nobody commits do not matter."""
    folders = (run.path, run.path.parent.parent / "demos/manifests")
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


class Loses:
    """A progress that removes the lease, as a newer attempt does, when a kind of work ends for the n-th time."""

    def __init__(self, run: distil.Run, what: str, number: int) -> None:
        self.run, self.what, self.number = run, what, number
        self.before: dict[Path, bytes] = {}

    def __call__(self, what: str, done: int, total: int, /, **_: float) -> None:
        if what == self.what and done == total:
            self.number -= 1
            if not self.number:
                (self.run.path / "attempts/000001.beat").unlink()
                self.before = files(self.run)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("what", ["collect", "update", "evaluate policy"])
def test_wherever_a_run_loses_its_lease_it_writes_nothing_after_that(
    what: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "RENEW_S", 1e6)  # it is not told, and learns it when it writes
    Path("recipe.yaml").write_text(yaml.safe_dump(SETTINGS))
    progress = Loses(distil.Run(tmp_path / "runs/mine"), what, number)
    with pytest.raises(distil.errors.SupersededError):
        distil.train("recipe.yaml", run="mine", progress=progress)
    assert files(progress.run) == progress.before != {}


def test_a_policy_is_not_replaced_once_the_lease_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last checkpoint of an update, and before its policy is kept."""
    monkeypatch.setattr(fence, "RENEW_S", 1e6)
    Path("recipe.yaml").write_text(yaml.safe_dump(SETTINGS))
    progress = Loses(distil.Run(tmp_path / "runs/mine"), "update", 2)
    monkeypatch.setattr(LossCurve, "finish_update", lambda self, metrics: progress("update", 1, 1))
    with pytest.raises(distil.errors.SupersededError):
        distil.train("recipe.yaml", run="mine", progress=lambda *_, **__: None)
    assert files(progress.run) == progress.before != {}

"""Imitation by interaction on a Ray cluster whose workers, ranks and driver are killed while it runs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from interactionbed import config

from distil import run as loop
from distil.config import to_yaml
from distil.policies.checkpoint import load_policy_ref
from distil.rewards.config import REWARD
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray"),
]
KIND = "dac"
LONG = {"algorithm": {"steps": 720, "steps_per_round": 60}}
DEADLINE_S = 400.0
NAMES = {"worker": "ray::RemoteWorker", "rank": "TrainWorker"}


def settings(folder: Path, **keys: Any) -> RunConfig:
    """A run of twelve rounds, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return config(folder, KIND, **LONG, **keys)


def spent(run: RunDir) -> dict[str, Any]:
    """What the whole run spent, apart from time, and the steps that its store has."""
    last = run.reports()[-1].spent
    counts = {name: value for name, value in vars(last).items() if name not in ("wall_s", "cpu_s")}
    return counts | {"stored": Store.open(run.agent).snapshot().num_transitions}


def victims(what: str) -> list[psutil.Process]:
    """Return the processes of that kind in this test session's Ray."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if NAMES[what] in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


class Storm:
    """A driver in a process of its own, and what kills it and what it started."""

    def __init__(self, recipe: Path, run: Path, kills: list[str]) -> None:
        self.recipe, self.run, self.rng = recipe, run, random.Random(run.name)
        self.left, self.done = kills, list[str]()
        self.start()

    def start(self) -> None:
        """Start the run, or continue it."""
        begun = (self.run / "config.yaml").exists()
        words = [str(self.run), "--resume"] if begun else [str(self.recipe), "--run", self.run.name]
        command = [sys.executable, "-m", "distil", "train", *words]
        self.driver = subprocess.Popen(
            command, cwd=self.recipe.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def num_rounds(self) -> int:
        """Return how many rounds have acted."""
        return len(RunDir(self.run).journal("agent")) if (self.run / "journal.jsonl").exists() else 0

    def go_on(self) -> bool:
        """Kill what is due; return whether the run has ended well."""
        if self.driver.poll() is not None:
            output = self.driver.communicate()[0]
            assert self.driver.returncode in (0, -signal.SIGKILL), output
            if self.driver.returncode == 0:
                return True
            self.start()
        elif self.left and self.num_rounds() > 2 * len(self.done):
            what = self.left[0]
            found = [self.driver] if what == "driver" else victims(what)
            if found:
                os.kill(self.rng.choice(found).pid, signal.SIGKILL)
                self.done.append(self.left.pop(0))
                if what == "driver":
                    self.driver.wait()
        return False


def test_kills_on_a_cluster_cost_no_step(tmp_path: Path, ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 4 and 11: two workers and a rank on Ray Train make the policy of one process, bit for bit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    calm_settings = settings(tmp_path / "calm")
    calm = RunDir.create(Path(calm_settings.runs), KIND, to_yaml(calm_settings), folder="calm")
    with Session(calm_settings) as session:
        loop.train(calm_settings, calm, session)

    rollouts = {"num_workers": 2, "address": ray_session.get_runtime_context().gcs_address}
    wild = settings(tmp_path / "wild", rollouts=rollouts, learner={"num_learners": 1})
    recipe = tmp_path / "wild" / "wild.json"
    recipe.write_text(json.dumps(wild.model_dump(mode="json", exclude_unset=True)))
    storm = Storm(recipe, Path(wild.runs) / "wild", ["worker", "rank", "driver"])
    until = time.monotonic() + DEADLINE_S
    try:
        while not storm.go_on():
            assert time.monotonic() < until, (storm.done, storm.num_rounds())
            time.sleep(storm.rng.uniform(0.01, 0.1))  # when, is chance
    finally:
        if storm.driver.poll() is None:
            storm.driver.kill()
            storm.driver.wait()
    assert not storm.left, storm.done
    run = RunDir(storm.run)
    assert spent(run) == spent(calm)
    arrays, wanted = (load_policy_ref(each.policy).arrays for each in (run, calm))
    assert {name: value.tobytes() for name, value in arrays.items()} == {
        name: value.tobytes() for name, value in wanted.items()
    }
    learned, expected = ((each.reward / REWARD).read_bytes() for each in (run, calm))
    assert learned == expected, "the group hands the reward over, too"

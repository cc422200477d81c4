"""Several hosts for real: jobs on a cluster of namespaces with their own addresses, names and folders, and a token.

Takes minutes, and root: run with DISTIL_HOSTS=1. DISTIL_FAULTS is the number of faults, DISTIL_SEED what they are drawn from.
"""

import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostbed
import numpy as np
import pytest

import distil
from distil.store import Store

LOG = logging.getLogger(__name__)
REASON = hostbed.why_not() or ("" if os.environ.get("DISTIL_HOSTS") else "takes minutes: set DISTIL_HOSTS=1")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]

POLE = """
import time
import gymnasium
import numpy as np
from distil.types import Labels

class Slow(gymnasium.Wrapper):
    def step(self, action):
        time.sleep(0.002)
        return super().step(action)

def make():
    return Slow(gymnasium.make("CartPole-v1", max_episode_steps=100))

class Balance:
    name, needs_env, stateful = "balance", False, False
    def begin(self, slot, seed):
        pass
    def act(self, observations, *, envs=None):
        x, speed, angle, spin = (observations["obs"] if isinstance(observations, dict) else observations).T
        push = 0.1 * x + 0.3 * speed + 4 * angle + spin > 0
        return Labels(actions=push.astype(np.int64), mask=np.ones(len(push), np.bool_))
"""
BASE: dict[str, Any] = {
    "name": "pole",
    "env": {"kind": "import", "target": "pole:make"},
    "expert": {"kind": "import", "target": "pole:Balance"},
    "data": {"episodes": 6},
    "policy": {"encoder": {"kind": "mlp", "hidden": [16]}},
    "learner": {"num_steps": 40, "checkpoint_every": 20},
    "evaluation": {"episodes": 4, "baselines": False},
    "tracking": {"enabled": False},
}
NUM_FAULTS, SEED = int(os.environ.get("DISTIL_FAULTS", "20")), int(os.environ.get("DISTIL_SEED", "0"))
NUM_ROUNDS = 10 + 5 * NUM_FAULTS  # so many that all faults come before the end
DAGGER = BASE | {
    "algorithm": {
        "kind": "dagger",
        "rounds": NUM_ROUNDS,
        "episodes_per_round": 12,
        "overlap": 1,
        "check_episodes": 0,
        "tuning_episodes": 0,
    },
    "rollouts": {"num_workers": 2, "num_envs": 3, "service": {"num_cpus": 0.5, "retries": 30, "backoff_s": 0.1}},
}
RANKS = BASE | {"learner": BASE["learner"] | {"num_learners": 2, "resources": {"place": 1.0}}}
INVERSE = {key: BASE[key] for key in BASE if key != "learner"} | {
    "algorithm": {"kind": "iq", "steps": 2000, "steps_per_round": 500},
    "rollouts": {"num_workers": 2},
}
SWEEP = {
    "recipe": "bc.json",
    "families": {"bc": {"search": {"learner.learning_rate": {"grid": [0.001, 0.01]}}}},
    "budget": {"labels": 600},
    "searcher": {"kind": "grid"},
    "confirm": {"best": 1, "seeds": 2},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hostbed.Cluster]:
    found = hostbed.Cluster(tmp_path_factory.mktemp("net"))
    yield found
    found.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pole.py").write_text(POLE)
    for name, recipe in (("dagger", DAGGER), ("ranks", RANKS), ("iq", INVERSE), ("bc", BASE), ("sweep", SWEEP)):
        (folder / f"{name}.json").write_text(json.dumps(recipe))
    return folder


SMALL = ["data.episodes=2", "learner.num_steps=10", "evaluation.episodes=2", "tracking.enabled=false"]


def drive(cluster: hostbed.Cluster, *words: str, path: str = "") -> tuple[int, str]:
    """Run `distil train cartpole-bc` on the first host; return its exit code and the last line that it said."""
    host = cluster.hosts[0]
    environment = [f"RAY_ADDRESS={cluster.head.address}:6379", *([f"PYTHONPATH={path}"] if path else [])]
    command = ["env", *environment, sys.executable, "-m", "distil", "train", "cartpole-bc", *SMALL, *words]
    code = host.popen(*command, log="driver.log").wait(timeout=300)
    return code, host.log("driver.log").strip().splitlines()[-1]


def submit(cluster: hostbed.Cluster, project: Path, *words: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Submit a command; the process follows it."""
    known = ["--address", cluster.url, "--root", str(cluster.shared), "--python", sys.executable, *options]
    command = [sys.executable, "-m", "distil", "submit", *known, "--", *words]
    environment = os.environ | cluster.environment
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=project, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def done(process: subprocess.Popen[str]) -> str:
    """Wait for a job; return what it said."""
    said = process.communicate(timeout=900)[0]
    assert process.returncode == 0, said
    return said


def test_a_folder_that_a_host_does_not_see_is_refused_with_its_name(cluster: hostbed.Cluster) -> None:
    first, second = cluster.hosts
    code, last = drive(cluster, f"data.path={cluster.private}/demos", f"runs={cluster.shared}/refused")
    assert code == 2, last
    assert last.startswith(f"distil: data.path={cluster.private}/demos: {first.name} sees it and other nodes don't (")
    assert f"({second.name} ({second.address}): other files)" in last
    assert not (cluster.shared / "refused").exists()


def test_hosts_with_another_distil_are_refused_with_their_names(cluster: hostbed.Cluster, tmp_path: Path) -> None:
    """Workers take distil from the environment of their host's Ray, whatever the driver has."""
    other = tmp_path / "other"  # not the current folder: that is on the workers' path, too
    shutil.copytree(Path(distil.__file__).parent, other / "distil", ignore=shutil.ignore_patterns("__pycache__"))
    (other / "distil" / "another.py").write_text("")
    code, last = drive(cluster, path=str(other))
    assert code == 2, last
    assert re.match(r"distil: host\d \(10\.[0-9.]+\): its distil has other code \(\w+\) than host2's \(\w+\): install", last)


def test_labels_that_no_host_has_end_the_job_with_its_exit_code(cluster: hostbed.Cluster, project: Path) -> None:
    process = submit(cluster, project, "train", "bc.json", "rollouts.num_workers=1", "rollouts.labels={role: gpu}")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 2, said
    assert "rollout workers: at least 1 needed with 1 CPU each on nodes labelled role=gpu; the Ray cluster has no such" in said


@pytest.mark.parametrize("words", [("train", "ranks.json"), ("train", "iq.json"), ("sweep", "sweep.json")])
def test_each_family_runs_as_a_job(cluster: hostbed.Cluster, project: Path, words: tuple[str, ...]) -> None:
    done(submit(cluster, project, *words, "runs=family"))
    if words[1] == "ranks.json":
        (run,) = (cluster.shared / "family").glob("pole-*")
        assert "train/loss" in (run / "journal.jsonl").read_text()
        done(submit(cluster, project, "evaluate", str(run), "--episodes", "2"))


NAMES = {"worker": "ray::RemoteWorker", "expert": "ray::Replica", "driver": "distil train dagger.json"}


class Faults:
    """A DAgger job that is disturbed, and submitted again whenever it has ended too early."""

    def __init__(self, cluster: hostbed.Cluster, project: Path, number: int, seed: int) -> None:
        self.cluster, self.project, self.rng = cluster, project, random.Random(seed)
        kinds = ["worker", "expert", "driver", "cut", "long cut", "host"]
        weights = [6, 3, 4, 3, 2, 2]
        self.left = self.rng.choices(kinds, weights, k=number)
        self.done, self.waits, self.has_ended = Counter[str](), list[float](), False
        self.run = cluster.shared / "runs" / "disturbed"
        self.job = self.start()

    def start(self) -> subprocess.Popen[str]:
        return submit(self.cluster, self.project, "train", "dagger.json", "data.path=data/disturbed", "--run", "disturbed")

    def progress(self) -> int:
        """Return how much the run has written down."""
        journal = self.run / "journal.jsonl"
        manifests = self.cluster.shared / "data" / "disturbed" / "manifests"
        return (journal.stat().st_size if journal.exists() else 0) + (
            len(list(manifests.iterdir())) if manifests.exists() else 0
        )

    def is_over(self) -> bool:
        """Return whether the run has ended well; keep Ray running on all hosts, and submit the job again if it has ended."""
        for host in self.cluster.hosts:
            self.cluster.keep(host)
        if self.job.poll() is None or self.has_ended:
            return self.has_ended
        said = self.job.communicate()[0]
        if self.job.returncode == 0:
            self.has_ended = True
            return True
        LOG.warning(f"job ended with {self.job.returncode}: {said.strip().splitlines()[-3:]}")
        self.job = self.start()
        return False

    def next(self) -> None:
        """Do the next one; wait until the run goes on."""
        kind, host = self.left[0], self.rng.choice(self.cluster.hosts)
        before, since = self.progress(), time.monotonic()
        if kind in NAMES:
            if not any(one.kill_one(NAMES[kind]) for one in self.rng.sample(self.cluster.hosts, 2)):
                return  # there is none at the moment
        elif kind == "host":
            host.kill()
            host.boot()
        else:
            host.cut()
            if kind == "cut":
                hostbed.pause(3.0)
                host.restore()
            else:  # until Ray gives the host up
                hostbed.until(lambda: self.is_over() or self.cluster.num_alive() < 3, lambda: "the host is still alive")
        is_dropped = kind == "long cut" or kind == "host"
        hostbed.until(lambda: self.is_over() or self.progress() > before, lambda: f"no progress after {kind}", 240)
        self.waits.append(time.monotonic() - since)
        if kind == "long cut":  # until the work has gone on without it
            host.restore()
        self.done[self.left.pop(0)] += 1
        LOG.warning(f"{kind} of {host.name if is_dropped else 'one'}: went on after {self.waits[-1]:.0f} s")


def test_a_job_through_faults_ends_as_an_undisturbed_one(cluster: hostbed.Cluster, project: Path) -> None:
    # in another folder of runs: those of one folder share the labels that they have paid for
    done(submit(cluster, project, "train", "dagger.json", "data.path=data/calm", "runs=calm", "--run", "calm"))
    faults = Faults(cluster, project, NUM_FAULTS, SEED)
    while not faults.is_over():
        if faults.left and faults.progress() > 0:
            faults.next()
        hostbed.pause(faults.rng.uniform(0.5, 4.0))
    LOG.warning(f"{dict(faults.done)}, longest wait {max(faults.waits):.0f} s")
    assert not faults.left, "the run was over before all faults had come"
    calm, disturbed = (Store.open(cluster.shared / "data" / name).snapshot() for name in ("calm", "disturbed"))
    assert disturbed.digest == calm.digest  # no step is lost, and none is there twice
    runs = [distil.open_run(cluster.shared / name) for name in ("calm/calm", "runs/disturbed")]
    for name, values in runs[0].policy().ref.arrays.items():
        np.testing.assert_array_equal(values, runs[1].policy().ref.arrays[name], err_msg=name)
    spent = [run.reports[-1].spent for run in runs]
    assert spent[0].expert_labels == spent[1].expert_labels
    assert spent[0].gradient_steps == spent[1].gradient_steps

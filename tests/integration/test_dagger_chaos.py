"""DAgger as a job through kills: rollout workers, experts' actors, the driver, and a node of the Ray cluster, at random.

What comes out must be what an undisturbed run in one process makes: the same store, the same policy, the same budget. With
several hosts, and networks that are cut, it is tested in `multinode/test_hosts.py`.
"""

import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from testbed import Unreliable
from trackingbed import free_port

import distil
from distil.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray"),  # Ray's own
]
REPO, TESTS = Path(__file__).parents[2], Path(__file__).parents[1]
MAX_BATCH = 64
SETTINGS = {
    "name": "chaos",
    "env": {"kind": "import", "target": "testbed:Toy", "kwargs": {"lengths": [30, 45, 20]}, "max_episode_steps": 50},
    "expert": {"kind": "import", "target": "testbed:Unreliable", "kwargs": {"notes": "notes"}},
    "data": {"episodes": 6},
    "algorithm": {
        "kind": "dagger",
        "rounds": 10,
        "episodes_per_round": 24,
        "overlap": 1,
        "check_episodes": 0,
        "tuning_episodes": 0,
    },
    "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
    "learner": {"num_steps": 30, "batch_size": 32, "checkpoint_every": 10},
    "evaluation": {"episodes": 2, "baselines": False},
    "rollouts": {"num_workers": 0, "num_envs": 2},
    "tracking": {"enabled": False},
}
KILLS = ["worker"] * 10 + ["expert"] * 3 + ["driver"] * 3 + ["node"] * 3
DEADLINE_S = 420.0


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A head and a second node, of two logical CPUs each; processes on them find the `testbed`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(REPO)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TOY_SLEEP", "0.002")  # a slow environment: there must be something to kill
    monkeypatch.setenv("EXPERT_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp", ignore_cleanup_errors=True) as folder:
        options = {"num_cpus": 2, "object_store_memory": 128 * 2**20}
        head = {**options, "include_dashboard": True, "dashboard_port": free_port(), "temp_dir": folder}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.node = made.add_node(**options)
        yield made
        made.shutdown()
    gc.collect()  # sockets that Ray leaves open are no later test's


def processes(cluster, name):
    """Return the processes below the cluster's nodes whose command has a name in it."""
    found = []
    for node in cluster.list_all_nodes():
        for info in node.all_processes.get("raylet", []):
            try:
                children = psutil.Process(info.process.pid).children(recursive=True)
                found += [child for child in children if name in " ".join(child.cmdline())]
            except psutil.Error:
                continue
    return found


class Chaos:
    """Kills what it is told to, and starts the driver again whenever it has died."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder, self.driver, self.rng = cluster, folder, None, random.Random(1)
        self.done = {"worker": 0, "expert": 0, "driver": 0, "node": 0}
        self.output = []
        self.has_killed = False  # what ends the job

    def start(self):
        recipe = self.folder / "chaos.json"
        rollouts = {
            **SETTINGS["rollouts"],
            "num_workers": 2,
            "service": {"max_batch": MAX_BATCH, "num_cpus": 0.5, "retries": 20, "backoff_s": 0.05},
        }
        recipe.write_text(json.dumps(SETTINGS | {"rollouts": rollouts}))
        options = ["--address", f"http://{self.cluster.webui_url}", "--root", str(self.folder), "--python", sys.executable]
        command = [sys.executable, "-m", "distil", "submit", *options, "--", "train", "chaos.json", "--run", "chaos-001"]
        pipe = subprocess.PIPE
        self.driver = subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def is_over(self):
        """Return whether the run has ended well; start its driver again if that is dead."""
        if self.driver.poll() is None:
            return False
        self.output.append(self.driver.communicate()[0])
        if self.driver.returncode == 0:
            return True
        unlucky = ("died 4 times on the episodes", "it ended with its node")  # a node may die before the job is on it, too
        assert self.has_killed or any(text in self.output[-1] for text in unlucky), self.output[-1]
        self.has_killed = False
        self.start()
        return False

    def kill(self, what):
        """Kill one; return whether there was one."""
        if what == "driver":
            victims = processes(self.cluster, "distil train chaos.json")
            if not list((self.folder / "data").glob("chaos/manifests/*")) or not victims:
                return False
            victims[-1].send_signal(signal.SIGKILL)
            self.has_killed = True
        elif what == "node":
            self.has_killed = True  # the driver may be on it
            self.cluster.remove_node(self.cluster.node, allow_graceful=False)
            self.cluster.node = self.cluster.add_node(num_cpus=2, object_store_memory=128 * 2**20)
        else:
            victims = processes(self.cluster, {"worker": "ray::RemoteWorker", "expert": "ray::Replica"}[what])
            if not victims:
                return False
            self.rng.choice(victims).send_signal(signal.SIGKILL)
        self.done[what] += 1
        return True


@pytest.fixture
def undisturbed(tmp_path):
    """The run in one process, without a service, in the folder `calm`."""
    folder = tmp_path / "calm"
    folder.mkdir()
    recipe = folder / "chaos.json"
    recipe.write_text(json.dumps(SETTINGS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EXPERT_NOTES", str(folder / "notes"))
        distil.train(str(recipe))
    return distil.open_run(folder / "runs/chaos-001"), Store.open(folder / "data/chaos").snapshot()


def test_kills_change_nothing(undisturbed, cluster, tmp_path):
    """CORRECTNESS 4, 11, 14 and 16."""
    folder = tmp_path / "storm"
    folder.mkdir()
    chaos, order = Chaos(cluster, folder), KILLS.copy()
    chaos.rng.shuffle(order)
    chaos.start()
    until = time.monotonic() + DEADLINE_S
    try:
        while not chaos.is_over():
            assert time.monotonic() < until, (chaos.done, chaos.output)
            if order and chaos.kill(order[-1]):
                order.pop()
            time.sleep(chaos.rng.uniform(0.1, 0.9))  # when, is chance
    finally:
        if chaos.driver.poll() is None:
            chaos.driver.kill()
            chaos.driver.wait()
    assert sum(chaos.done.values()) == len(KILLS), chaos.done
    assert min(chaos.done.values()) >= 2, chaos.done
    run, data = distil.open_run(folder / "runs/chaos-001"), Store.open(folder / "data/chaos").snapshot()
    calm, wanted = undisturbed
    assert data.digest == wanted.digest
    for name, values in calm.policy().ref.arrays.items():
        np.testing.assert_array_equal(values, run.policy().ref.arrays[name], err_msg=name)
    for one, two in zip(run.reports, calm.reports, strict=True):
        for key in ("budget/env_steps", "budget/expert_labels", "budget/unlabelled_steps", "eval/return_mean"):
            assert one.metrics.get(key) == two.metrics.get(key)
    stored, lost = int(data.episodes.num_labelled.sum()), chaos.done["driver"] + chaos.done["node"] + chaos.done["expert"]
    paid = Unreliable(tmp_path / "notes").paid()
    assert paid <= stored + lost * MAX_BATCH  # an answer on its way from an expert that dies is lost, and no other one

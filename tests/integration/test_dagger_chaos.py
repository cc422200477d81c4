"""DAgger as a job through kills: rollout workers, experts' actors, the driver, and a node of the Ray cluster, at random.

What comes out must be what an undisturbed run in one process makes: the same store, the same policy, the same budget. With
several hosts, and networks that are cut, it is tested in `multinode/test_hosts.py`.
"""

import gc
import json
import random
import sys
import tempfile
import time

import chaosbed
import numpy as np
import pytest
from testbed import Unreliable

import distil
from distil.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray"),  # Ray's own
]
MAX_BATCH = 64
SETTINGS = {
    "name": "chaos",
    "env": {"kind": "import", "target": "testbed:Toy", "kwargs": {"lengths": [30, 45, 20]}, "max_episode_steps": 50},
    "expert": {"kind": "import", "target": "testbed:Unreliable", "kwargs": {"notes": "notes"}},
    "data": {"episodes": 6},
    "algorithm": {
        "kind": "dagger",
        "rounds": 6,
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
KILLS = ["worker"] * 4 + ["expert"] * 2 + ["driver"] * 2 + ["node"] * 2
DEADLINE_S = 420.0


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A head and a second node, of two logical CPUs each; processes on them find the `testbed`."""
    for name, value in chaosbed.environment(EXPERT_NOTES=str(tmp_path / "notes"), TOY_SLEEP="0.002").items():
        monkeypatch.setenv(name, value)  # a slow environment: there must be something to kill
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = chaosbed.Cluster(folder)
        yield made
        made.close()
    gc.collect()  # sockets that Ray leaves open are no later test's


def storm(cluster, folder):
    """The run as a job, which begins again whenever it has died."""
    service = {"max_batch": MAX_BATCH, "num_cpus": 0.5, "retries": 20, "backoff_s": 0.05}
    rollouts = SETTINGS["rollouts"] | {"num_workers": 2, "service": service}
    (folder / "chaos.json").write_text(json.dumps(SETTINGS | {"rollouts": rollouts}))
    options = ["--address", cluster.dashboard, "--root", str(folder), "--python", sys.executable]
    command = [sys.executable, "-m", "distil", "submit", *options, "--", "train", "chaos.json", "--run", "chaos-001"]
    # a node may die before the job is on it, too
    unlucky = ("died 4 times on the episodes", "it ended with its node", "the job's folder has been removed")
    return chaosbed.Storm(cluster, command, folder, random.Random(1), driver="distil train chaos.json", unlucky=unlucky)


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
    chaos, order, rng = storm(cluster, folder), KILLS.copy(), random.Random(1)
    rng.shuffle(order)
    until = time.monotonic() + DEADLINE_S
    try:
        while not chaos.is_over():
            assert time.monotonic() < until, (chaos.done, chaos.output)
            has_begun = list((folder / "data").glob("chaos/manifests/*"))  # something to lose
            if order and (order[-1] != "driver" or has_begun) and chaos.kill(order[-1]):
                order.pop()
            time.sleep(rng.uniform(0.1, 0.9))  # when, is chance
    finally:
        chaos.end()
    assert not order, chaos.done
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

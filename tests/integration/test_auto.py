"""`rollouts.num_workers: auto` in processes of its own: killed at the hand-over, and beside clusters that it was not given."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import distil
from distil.cluster import num_cores
from distil.store import Store

pytestmark = pytest.mark.ray
REPO, TESTS = Path(__file__).parents[2], Path(__file__).parents[1]
SETTINGS = {
    "name": "handed",
    "env": {"kind": "import", "target": "testbed:Toy", "kwargs": {"lengths": [30, 45, 20]}, "max_episode_steps": 50},
    "expert": {"kind": "import", "target": "testbed:Alive"},
    "data": {"episodes": 100},
    "algorithm": {"kind": "bc"},
    "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
    "learner": {"num_steps": 20, "batch_size": 32},
    "evaluation": {"episodes": 2, "baselines": False},
    "rollouts": {"num_envs": 1},
    "tracking": {"enabled": False},
}
DEADLINE_S = 240.0


def environment(**more):
    """The environment of a process that finds the `testbed` and was given no cluster."""
    path = os.pathsep.join([str(TESTS), str(REPO)])
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return env | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"} | more


@pytest.mark.skipif(num_cores() == 1, reason="with one core, no workers take over")
def test_a_driver_that_is_killed_at_the_hand_over_resumes_to_the_same_policy(tmp_path, monkeypatch):
    """CORRECTNESS 4, 5 and 14: SIGKILL once this process has sealed its shard, while the actors run theirs."""
    (tmp_path / "handed.json").write_text(json.dumps(SETTINGS))
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    killed.mkdir()
    calm.mkdir()
    driver = subprocess.Popen(
        [sys.executable, "-m", "distil", "train", "../handed.json"],
        cwd=killed,
        env=environment(TOY_SLEEP="0.03"),  # a slow environment: 100 episodes take a minute and a half, so actors pay
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + DEADLINE_S
    try:
        while driver.poll() is None and not list(killed.glob("data/handed/data/*")):
            assert time.monotonic() < until
            time.sleep(0.01)  # polls a real process, decides nothing
    finally:
        driver.send_signal(signal.SIGKILL)
        said = driver.communicate(timeout=60)[1]
    assert driver.returncode == -signal.SIGKILL, said
    assert "Ray actors take over" in said
    runs = []
    for folder, resume in ((killed, True), (calm, False)):
        monkeypatch.chdir(folder)
        runs.append((distil.train("../handed.json", resume=resume), Store.open("data/handed").snapshot()))
        runs[-1][0].policy()
    (one, stored), (two, wanted) = runs
    assert [run.path.name for run in (one, two)] == ["handed-001", "handed-001"]
    assert stored.digest == wanted.digest
    arrays = one.policy().ref.arrays
    for name, values in two.policy().ref.arrays.items():
        np.testing.assert_array_equal(values, arrays[name], err_msg=name)


WHERE = """
import itertools, json, sys
import ray
from testbed import CountingExpert, team_of
from distil.envs import ImportEnvConfig, describe
from distil.rollouts import Fleet, RolloutConfig, evaluate
from distil.rollouts.auto_pool import AutoPool
from distil.rollouts.sizing import Sizing
from distil.rollouts.work import Setup

env = ImportEnvConfig(target="testbed:Toy")
for address in (None, sys.argv[1]):
    config, notes, team = RolloutConfig(num_envs=1, address=address), [], team_of(CountingExpert())
    fleet = Fleet(env=env, spec=describe(env), config=config, team=team)
    if address is None:
        setup = Setup(env=env, spec=fleet.spec, num_envs=1, team=team)
        fleet._pool = AutoPool(setup, config, notes.append, Sizing(2, clock=itertools.count(0, 60).__next__))
    else:
        fleet._workers(notes.append)
    lengths = evaluate(fleet, "expert", list(range(6))).lengths.tolist()
    print(json.dumps([ray.get_runtime_context().gcs_address, ray.cluster_resources()["CPU"], lengths, notes]))
    fleet.close()
    ray.shutdown()
"""


@pytest.fixture
def cluster():
    """`ray start --head` with 3 CPUs, the cluster that a plain `ray.init()` would join; its address, and its environment."""
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env, current = environment(RAY_TMPDIR=folder), Path(folder) / "ray/ray_current_cluster"
        options = [
            "--head",
            "--block",
            "--port=0",
            "--num-cpus=3",
            "--include-dashboard=false",
            "--object-store-memory=100000000",
        ]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
        head = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + DEADLINE_S
            while not (current.exists() and current.read_text()):
                assert head.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)  # polls a real process, decides nothing
            yield current.read_text().strip(), env
        finally:
            head.terminate()
            head.wait()


def test_auto_uses_the_cluster_that_it_is_given_and_never_another_one(cluster):
    """The same process, first without an address and then with one."""
    address, env = cluster
    done = subprocess.run([sys.executable, "-c", WHERE, address], env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    alone, asked = map(json.loads, done.stdout.splitlines())
    assert alone[0] != address
    assert alone[3] == ["rollouts: 2 Ray actors take over: 5 episodes would take 5 min 0 s more in this process"]
    assert asked[:2] == [address, 3]
    assert asked[3] == [f"rollouts: starting Ray actors on the cluster at {address}"]
    assert alone[2] == asked[2] == [5] * 6

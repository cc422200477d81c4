import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from threadpoolctl import threadpool_info, threadpool_limits

from distil.rollouts.threads import one_thread

ALONE = """
from threadpoolctl import threadpool_info
import numpy, torch
from testbed import CountingExpert, team_of
from distil.envs import ImportEnvConfig, describe
from distil.rollouts import Fleet, RolloutConfig, evaluate
def look(what, done, total, /, **figures):
    print({pool["num_threads"] for pool in threadpool_info()} | {torch.get_num_threads()})
env = ImportEnvConfig(target="testbed:Toy")
fleet = Fleet(env=env, spec=describe(env), config=RolloutConfig(num_envs=2), team=team_of(CountingExpert()))
evaluate(fleet, "expert", [1], progress=look)
"""


def numbers() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info()}


def test_one_thread_meanwhile_and_as_before_afterwards() -> None:
    with threadpool_limits(limits=2):
        with one_thread():
            assert numbers() == {1}
        assert numbers() == {2}


def test_torch_computes_with_one_thread_here_and_with_its_own_number_elsewhere() -> None:
    """As with `algorithm.overlap`: a new thread collects, and torch has not computed there; the learner trains in this one."""
    inside, done = threading.Event(), threading.Event()

    def collect() -> tuple[int, int]:
        with one_thread():
            torch.zeros(1 << 16).exp_()  # torch's first call in a thread sets its number
            inside.set()
            assert done.wait(60)
            meanwhile = torch.get_num_threads()
        return meanwhile, torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1) as pool:
            collected = pool.submit(collect)
            assert inside.wait(60)
            assert torch.get_num_threads() == 3
            done.set()
            assert collected.result() == (1, 3)
    finally:
        torch.set_num_threads(before)


def test_rollouts_in_this_process_compute_with_one_thread() -> None:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", ALONE], env=env, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "{1}"  # the first line is of before the rollouts

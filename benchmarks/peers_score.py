"""The evaluator: one for all. A policy is a function from a batch of observations to actions; the episodes are the same.

Half of the episodes run in each of two processes, which wait while a contestant is timed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

import distil

Array = npt.NDArray[Any]
Act = Callable[[Array], Array]
Policy = Callable[[], AbstractContextManager[Act]]  # can be pickled
_PROCESSES = 2
_PR_SET_PDEATHSIG = 1


def returns(env_id: str, seeds: Sequence[int], policy: Policy) -> list[float]:
    """Return the undiscounted return of one episode per seed, in the order of the seeds."""
    parts = [_pool().submit(_part, env_id, seeds[first::_PROCESSES], policy) for first in range(_PROCESSES)]
    found = [0.0] * len(seeds)
    for first, part in enumerate(parts):
        found[first::_PROCESSES] = part.result()
    return found


@cache
def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(_PROCESSES, get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _part(env_id: str, seeds: Sequence[int], policy: Policy) -> list[float]:
    with policy() as act:
        return episodes(env_id, seeds, act)


def episodes(env_id: str, seeds: Sequence[int], act: Act) -> list[float]:
    """Return the undiscounted return of one episode per seed. Actions are clipped to the environment's bounds.

    The environments take their steps in turn, so that a policy is asked once for all of them.
    """
    envs = [gym.make(env_id) for _ in seeds]
    space = envs[0].action_space
    observations = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    totals, running = [0.0] * len(envs), list(range(len(envs)))
    while running:
        actions = act(np.stack([observations[index] for index in running]))
        if isinstance(space, gym.spaces.Box):
            actions = np.clip(actions, space.low, space.high).astype(space.dtype)
        else:
            actions = actions.astype(np.int64)
        still = []
        for index, action in zip(running, actions, strict=True):
            observations[index], reward, terminated, truncated, _ = envs[index].step(action)
            totals[index] += float(reward)
            if not (terminated or truncated):
                still.append(index)
        running = still
    for env in envs:
        env.close()
    return totals


@contextmanager
def own(path: Path) -> Iterator[Act]:
    """Yield distil's policy in a run's folder."""
    torch.set_num_threads(1)
    yield distil.load_policy(path).predict


@contextmanager
def served(python: str, program: Path, spec: Path, policy: str, log: Path) -> Iterator[Act]:
    """Yield a policy that another library's program serves through pipes."""
    (out_r, out_w), (in_r, in_w) = os.pipe(), os.pipe()
    env = {**os.environ, "PEER_TELLS": str(out_w), "PEER_HEARS": str(in_r), "OMP_NUM_THREADS": "1"}
    command = [python, str(program), "act", str(spec), policy]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=env, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(out_w, in_r)
        )
    os.close(out_w)
    os.close(in_r)
    with os.fdopen(out_r, "rb") as answers, os.fdopen(in_w, "wb") as requests:

        def act(observations: Array) -> Array:
            head = {"shape": observations.shape, "dtype": str(observations.dtype)}
            requests.write(json.dumps(head).encode() + b"\n" + np.ascontiguousarray(observations).tobytes())
            requests.flush()
            answer = json.loads(answers.readline() or b"null")
            if answer is None:
                raise RuntimeError(f"{program.name} act: ended early, see {log}")
            size = int(np.prod(answer["shape"])) * np.dtype(answer["dtype"]).itemsize
            return np.frombuffer(answers.read(size), answer["dtype"]).reshape(answer["shape"])

        yield act
    process.wait()

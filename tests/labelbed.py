"""Stores of raw episodes, and experts that label them. Ray actors import this module too."""

import os
import signal
from pathlib import Path

import numpy as np
from gymnasium import spaces
from testbed import Balancer

from distil.envs import EnvSpec, GymEnvConfig
from distil.experts.base import Expert
from distil.experts.imported import ImportExpertConfig
from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec
from distil.types import Episode

CARTPOLE = {"kind": "gym", "id": "CartPole-v1"}


def raw_store(folder: Path | str, *shards: list[int], env: dict | None = None, labelled=(), action=None) -> Store:
    """Make a store of CartPole-like episodes e0000, e0001, ... of the given lengths, a list a shard.

    Steps in `labelled` (numbers within each episode) have the label 1.
    """
    observation, action = spaces.Box(-np.inf, np.inf, (4,), np.float32), action or spaces.Discrete(2)
    spec = StoreSpec(
        observation=observation_spec(observation), action=action_spec(action), env=CARTPOLE if env is None else env
    )
    store, number = Store.create(folder, spec), 0
    for lengths in shards:
        writer = store.writer("raw")
        for length in lengths:
            rng = np.random.default_rng(number)
            marks = np.isin(np.arange(length), labelled)
            actions = rng.integers(2, size=(length, *action.shape)).astype(action.dtype)
            writer.add(
                Episode(
                    observations={"obs": rng.normal(size=(length + 1, 4)).astype(np.float32)},
                    actions=actions,
                    rewards=np.ones(length),
                    terminated=True,
                    truncated=False,
                    expert_actions=marks.astype(action.dtype).reshape(actions.shape),
                    labelled=marks.astype(np.uint8),
                    acted_by_expert=np.zeros(length, np.uint8),
                    seed=1000 + number,
                    uid=f"e{number:04d}",
                    source="random",
                )
            )
            number += 1
        entry = writer.seal()
        store.commit([entry])
    return store


def expert(target: str = "testbed:Balancer", **kwargs: object) -> Expert:
    """Return an imported expert for `raw_store`'s spaces. `num_envs` 0: everything it is asked goes to the ledger."""
    store_spec = StoreSpec(
        observation=observation_spec(spaces.Box(-np.inf, np.inf, (4,), np.float32)), action=action_spec(spaces.Discrete(2))
    )
    spec = EnvSpec(
        name="e",
        observation=store_spec.observation,
        action=store_spec.action,
        max_episode_steps=None,
        reward_threshold=None,
    )
    return ImportExpertConfig(target=target, kwargs={"num_envs": 0} | kwargs).build(GymEnvConfig(id="CartPole-v1"), spec)


def asked(ledger: Path) -> list[int]:
    """Return the numbers of rows of each batch that an expert was asked."""
    return [int(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []


class Dying(Balancer):
    """Asked about `at` rows, it ends its process ("kill") or presses Ctrl-C ("interrupt"), and makes the file `marker`.

    With `once`, not if the marker is there already.
    """

    def __init__(self, at=3, how="kill", marker="", once=False, **kwargs):
        super().__init__(**kwargs)
        self.at, self.how, self.marker, self.once = at, how, Path(marker), once

    def act(self, observations):
        if len(observations) == self.at and not (self.once and self.marker.exists()):
            self.marker.touch()
            if self.how == "interrupt":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGKILL)
        return super().act(observations)


class Writing(Balancer):
    """Uses the observations that it is given as scratch memory."""

    def act(self, observations):
        actions = super().act(observations)
        observations[:] = 0
        return actions


class Cancelled(Balancer):
    """Asked about `at` rows, it says so through the pipe `gate`, and answers once its Ray task is cancelled."""

    def __init__(self, gate="", at=0, **kwargs):
        super().__init__(**kwargs)
        self.gate, self.at = gate, at

    def act(self, observations):
        if len(observations) == self.at:
            import ray

            Path(self.gate).write_text("here")
            while not ray.get_runtime_context().is_canceled():
                os.sched_yield()
        return super().act(observations)

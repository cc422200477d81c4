"""Spaces and policies that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.config import validate
from distil.policies.ensemble import members
from distil.policies.policy import Policy, PolicyConfig
from distil.policies.restore import policy_of
from distil.policies.spec import PolicyRef
from distil.spaces import SpaceSpec, action_spec, observation_spec, stack
from distil.types import Array, Batch

OBSERVATIONS: dict[str, gym.Space[Any]] = {
    "vector": gym.spaces.Box(-np.inf, np.inf, (5,), np.float64),
    "matrix": gym.spaces.Box(-1, 1, (2, 3)),
    "ram": gym.spaces.Box(0, 255, (6,), np.uint8),
    "image": gym.spaces.Box(0, 255, (9, 8, 3), np.uint8),
    "discrete": gym.spaces.Discrete(4, start=-1),
    "multi_discrete": gym.spaces.MultiDiscrete([[2, 3], [4, 5]]),
    "multi_binary": gym.spaces.MultiBinary((2, 2)),
    "nested": gym.spaces.Dict(
        a=gym.spaces.Box(-1, 1, (3,)),
        b=gym.spaces.Tuple(
            [gym.spaces.Discrete(3), gym.spaces.Dict(c=gym.spaces.MultiBinary(2), d=gym.spaces.MultiDiscrete([2, 3]))]
        ),
        image=gym.spaces.Box(0, 255, (7, 7), np.uint8),
    ),
}
ACTIONS: dict[str, gym.Space[Any]] = {
    "box": gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)),
    "scalar": gym.spaces.Box(-1, 1, ()),
    "matrix64": gym.spaces.Box(-1, 3, (2, 2), np.float64),
    "integers": gym.spaces.Box(-3, 4, (2,), np.int32),
    "unbounded": gym.spaces.Box(-np.inf, np.inf, (2,)),
    "discrete": gym.spaces.Discrete(3, start=2),
    "multi_discrete": gym.spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "multi_binary": gym.spaces.MultiBinary(3),
}


def rows(spec: SpaceSpec, space: gym.Space[Any], num: int) -> dict[str, Array]:
    """Return leaf name -> [num, ...] samples, not always the same ones."""
    return stack([spec.flatten(space.sample()) for _ in range(num)])


class World:
    """A policy of random weights, fitted to random data, and samples of its spaces."""

    def __init__(self, observation: str, action: str, data: dict[str, Any], seed: int = 0) -> None:
        self.observation_space, self.action_space = OBSERVATIONS[observation], ACTIONS[action]
        self.observation_space.seed(seed)
        self.action_space.seed(seed)
        self.observation, self.action = observation_spec(self.observation_space), action_spec(self.action_space)
        self.policy = Policy(validate(PolicyConfig, data), self.observation, self.action, seed=seed)
        labels = np.stack([np.asarray(self.action_space.sample()) for _ in range(20)])
        self.policy.fit_normaliser(self.observations(20) | {"action": labels})
        if self.policy.head.needs_labels:
            batch = self.batch(20)
            self.policy.fit_labels(self.policy.actions.encode(batch.actions, batch.observations))

    def observations(self, num: int) -> dict[str, Array]:
        return rows(self.observation, self.observation_space, num)

    def batch(self, size: int) -> Batch:
        config = self.policy.config
        windows = [self.observations(config.obs_horizon) for _ in range(size)]
        observations = {name: torch.from_numpy(np.stack([w[name] for w in windows])) for name in windows[0]}
        labels = np.stack([[np.asarray(self.action_space.sample()) for _ in range(config.chunk)] for _ in range(size)])
        is_pad = torch.zeros(size, config.chunk, dtype=torch.bool)
        return Batch(observations=observations, actions=torch.from_numpy(labels), is_pad=is_pad)


class Oracle:
    """A policy in N slots as it is defined: one slot at a time, in torch, with lists. What `acting` must do."""

    def __init__(self, ref: PolicyRef, num: int) -> None:
        self.policies = [policy_of(member).eval() for member in members(ref)]
        self.spec, self.slots = ref.spec, [Slot() for _ in range(num)]

    def begin(self, slot: int) -> None:
        self.slots[slot] = Slot()

    def act(self, observations: dict[str, Array]) -> Array:
        return np.stack([self._act(slot, {k: v[i] for k, v in observations.items()}) for i, slot in enumerate(self.slots)])

    def _act(self, slot: Slot, observation: dict[str, Array]) -> Array:
        horizon = self.spec.config.obs_horizon
        slot.history = ((slot.history or [observation] * horizon) + [observation])[-horizon:]
        if not slot.queue:
            window = {k: torch.from_numpy(np.stack([seen[k] for seen in slot.history]))[None] for k in observation}
            with torch.no_grad():
                plans = np.stack([policy.plan(window, None).numpy() for policy in self.policies])
            plan = self.spec.head.combine(plans)[0] if len(plans) > 1 else plans[0]
            if self.spec.config.temporal_ensemble is not None:
                return self._averaged(slot, torch.from_numpy(plan), window)
            slot.queue = list(
                self.policies[0].actions.decode(torch.from_numpy(plan), window)[0, : self.spec.config.num_executed]
            )
        return slot.queue.pop(0).numpy()

    def _averaged(self, slot: Slot, plan: torch.Tensor, window: dict[str, torch.Tensor]) -> Array:
        """Of the plans that reach this step, where they lead to without bounds; the oldest one counts most."""
        actions, chunk, leaf = self.policies[0].actions, self.spec.config.chunk, self.spec.action.leaf
        moved = plan[0] * actions.half_width + actions.centre
        origin = 0 if actions.origin is None else actions.origin.of_windows(window)
        slot.plans = [*slot.plans, (moved + origin).numpy()][-chunk:]
        said = [each[len(slot.plans) - 1 - i] for i, each in enumerate(slot.plans)]
        weights = np.exp(-self.spec.config.temporal_ensemble.decay * np.arange(len(said)))
        mean = np.average(said, axis=0, weights=weights)
        return np.clip(mean, *(bound.ravel() for bound in leaf.bounds())).reshape(leaf.shape)


@dataclass
class Slot:
    history: list[dict[str, Array]] = field(default_factory=list)
    queue: list[torch.Tensor] = field(default_factory=list)
    plans: list[Array] = field(default_factory=list)


@pytest.fixture
def oracle() -> type[Oracle]:
    """Return the class: `oracle(ref, num)`."""
    return Oracle


@pytest.fixture
def world() -> Callable[..., World]:
    """Return the maker of worlds: `world("vector", "box", chunk=3)`."""
    return lambda observation="vector", action="box", **data: World(observation, action, data)

"""Who acts in a rollout: an expert (with noise), a policy, or chance. Always for all N slots at once.

A row of a matrix product depends, in its last bits, on its place and on the number of rows, so N is fixed by configuration
and idle slots keep their stale rows. Legend: N slots, A action dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from distil.draws import STEPS, SlotDraws
from distil.envs import EnvSpec
from distil.errors import InputError
from distil.experts.base import Expert, act, label
from distil.experts.gates.base import Gate, GatePlan, Situation
from distil.experts.random import RandomExpert, sample
from distil.plans import Who
from distil.policies.acting import acting
from distil.policies.config import ActMode
from distil.policies.spec import PolicyRef
from distil.rollouts.config import NoiseConfig
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


@dataclass(frozen=True, kw_only=True)
class Acted:
    """What N slots do next."""

    actions: Array  # [N, ...] executed, in the environment's action space
    expert_actions: Array | None = None  # [N, ...] labels
    labelled: Array | None = None  # [N] bool, which labels exist; None: all, if there are labels
    acted_by_expert: Array  # [N] bool
    answered: Array | None = None  # [N] bool, which rows of `actions` mean anything; None: all


class Agent(Protocol):
    """Acts in N slots. What it does in an episode depends on the episode's seed and the slot only."""

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""

    def act(self, observations: Observations, envs: Sequence[Any] | None, active: Array | None = None) -> Acted:
        """Return the next actions for the leaves [N, ...] of all slots; idle ones (not `active` [N] bool) needn't be right."""


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """Which agent, as data."""

    who: Who
    noise: NoiseConfig = field(default_factory=NoiseConfig)  # the expert's, where it is the one that acts
    gate: GatePlan | None = None  # who acts in the policy's place, and at which steps the expert is asked
    act: ActMode = "point"  # the policy's

    def build(self, env: EnvSpec, num_envs: int, expert: Expert | None, policy: PolicyRef | None) -> Agent:
        """Return the agent.

        Raises:
            InputError: there is no expert to act, or the noise doesn't fit the action space.
        """
        if self.who == "policy":
            assert policy is not None
            policy_agent = acting(policy, num_envs, act=self.act)
            if self.gate is None:
                return PolicyAgent(policy_agent, num_envs)
            if expert is None and self.gate.needs_expert:
                raise InputError("the expert is to label, but none is configured: set expert.kind")
            return GatedAgent(policy_agent, expert, self.gate.build(num_envs, env.action.leaf))
        if self.who == "random":
            return RandomAgent(env.action.leaf)
        if expert is None:
            raise InputError("the expert is to act, but none is configured: set expert.kind")
        return ExpertAgent(expert, make_noise(self.noise, env.action.leaf, num_envs))


class ExpertAgent:
    """The expert acts, with noise; its clean actions are the labels."""

    def __init__(self, expert: Expert, noise: Noise | None = None) -> None:
        self._expert, self._noise = expert, noise

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""
        self._expert.begin(slot, seed)
        if self._noise:
            self._noise.begin(slot, seed)

    def act(self, observations: Observations, envs: Sequence[Any] | None, active: Array | None = None) -> Acted:
        """Return the expert's actions and, as labels, what it would have done without noise."""
        labels = act(self._expert, observations, envs=envs, live=active)
        actions, by_expert = labels.actions, labels.mask
        if self._noise:
            actions, replaced = self._noise.apply(actions)
            by_expert = by_expert & ~replaced
        return Acted(
            actions=actions,
            expert_actions=labels.actions,
            labelled=labels.mask,
            acted_by_expert=by_expert,
            answered=labels.mask,
        )


class PolicyAgent:
    """A learned policy acts, without labels."""

    def __init__(self, policy: Any, num_envs: int) -> None:
        self._policy = policy
        self._nobody = np.zeros(num_envs, np.bool_)

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""
        self._policy.begin(slot, seed)

    def act(self, observations: Observations, envs: Sequence[Any] | None, active: Array | None = None) -> Acted:
        """Return the policy's actions."""
        return Acted(actions=self._policy.act(observations), acted_by_expert=self._nobody)


class GatedAgent:
    """The policy acts; a gate decides where the expert acts in its place, and where it is asked for a label."""

    def __init__(self, policy: Any, expert: Expert | None, gate: Gate) -> None:
        self._policy, self._expert, self._gate = policy, expert, gate

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""
        self._policy.begin(slot, seed)
        self._gate.begin(slot, seed)
        if self._expert is not None:
            self._expert.begin(slot, seed)

    def act(self, observations: Observations, envs: Sequence[Any] | None, active: Array | None = None) -> Acted:
        """Return the executed actions, and the labels that the gate asked for."""
        actions = self._policy.act(observations)

        def ask(rows: Array) -> Labels:
            assert self._expert is not None
            rows = rows if active is None else rows & active
            if not rows.any() and not self._expert.stateful:
                return Labels(actions=np.zeros_like(actions), mask=rows)
            return label(self._expert, observations, envs=envs, live=active, rows=rows)

        now = Situation(observations=observations, actions=actions, doubt=getattr(self._policy, "doubt", None), ask=ask)
        choice = self._gate.choose(now)
        by_expert, labels = choice.expert_acts, choice.labels
        actions = np.where(by_expert.reshape(-1, *[1] * (actions.ndim - 1)), labels.actions, actions)
        return Acted(actions=actions, expert_actions=labels.actions, labelled=labels.mask, acted_by_expert=by_expert)


class RandomAgent:
    """Actions drawn from the action space, from a stream per episode."""

    def __init__(self, action: Leaf) -> None:
        self._expert = RandomExpert(action)

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""
        self._expert.begin(slot, seed)

    def act(self, observations: Observations, envs: Sequence[Any] | None, active: Array | None = None) -> Acted:
        """Return random actions."""
        labels = self._expert.act(observations, envs=envs)
        return Acted(actions=labels.actions, acted_by_expert=np.zeros_like(labels.mask))


class Noise(Protocol):
    """Noise from a stream per episode."""

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of a new episode in row `slot`."""

    def apply(self, actions: Array) -> tuple[Array, Array]:
        """Return the noised actions [N, ...] and which of them [N] bool have nothing left of the original."""


def make_noise(config: NoiseConfig, action: Leaf, num_envs: int) -> Noise | None:
    """Return the noise of `config`; InputError if it doesn't fit the action space."""
    if config.kind == "none":
        return None
    if config.kind == "epsilon":
        if isinstance(config.level, tuple) or config.level > 1:
            raise InputError(f"noise.level is {config.level}: with kind epsilon it is one chance, at most 1")
        return EpsilonNoise(config.level, action, num_envs)
    if action.kind != "box" or np.dtype(action.dtype).kind != "f":
        raise InputError(f"noise.kind gaussian needs continuous actions, these are {action.kind}: set noise.kind=epsilon")
    if isinstance(config.level, tuple) and len(config.level) != math.prod(action.shape):
        raise InputError(
            f"noise.level has {len(config.level)} numbers, the action {math.prod(action.shape)}: give one for each"
        )
    level = np.reshape(config.level, action.shape) if isinstance(config.level, tuple) else config.level
    return GaussianNoise(level, action, num_envs)


class GaussianNoise:
    """Adds normal noise and clips to the bounds. Dimensions without finite bounds count as half range 1.

    Args:
        level: standard deviation in half ranges, one for all or an array of the action's shape.
        action: its space.
        num_envs: slots.
    """

    def __init__(self, level: float | Array, action: Leaf, num_envs: int) -> None:
        low, high = action.bounds()
        finite = np.isfinite(low) & np.isfinite(high)
        std = level * np.where(finite, np.where(finite, high, 1.0) - np.where(finite, low, -1.0), 2.0) / 2
        self._low, self._high, self._dtype = low.astype(action.dtype), high.astype(action.dtype), np.dtype(action.dtype)
        self._stream = SlotDraws(lambda rng: std * rng.standard_normal((STEPS, *action.shape)), num_envs, "noise")
        self._none = np.zeros(num_envs, np.bool_)

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of a new episode in row `slot`."""
        self._stream.begin(slot, seed)

    def apply(self, actions: Array) -> tuple[Array, Array]:
        """Return the noised actions [N, ...] and that none of them was replaced."""
        noised = (actions + self._stream.take()).astype(self._dtype)
        return np.clip(noised, self._low, self._high), self._none


class EpsilonNoise:
    """Replaces the action by a uniformly random one, by chance at each step."""

    def __init__(self, level: float, action: Leaf, num_envs: int) -> None:
        self._chance = level
        self._coins = SlotDraws(lambda rng: rng.random(STEPS), num_envs, "epsilon", idle=1.0)
        self._others = SlotDraws(lambda rng: sample(action, STEPS, rng), num_envs, "epsilon-action", idle=action.start)

    def begin(self, slot: int, seed: int) -> None:
        """Start the streams of a new episode in row `slot`."""
        self._coins.begin(slot, seed)
        self._others.begin(slot, seed)

    def apply(self, actions: Array) -> tuple[Array, Array]:
        """Return the noised actions [N, ...] and which of them were replaced."""
        replaced = self._coins.take() < self._chance
        others = self._others.take()
        return np.where(replaced.reshape(-1, *[1] * (actions.ndim - 1)), others, actions), replaced

"""Who acts in a rollout: an expert (with noise), a policy, or random actions; always for all N slots at once.

The last bits of a row of a matrix product depend on its position and on the number of rows. So the configuration fixes N, and
idle slots keep their old rows. Legend: N slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from distil.envs import EnvSpec
from distil.errors import InputError, RunError
from distil.experts.base import Expert, act, label
from distil.experts.gates.base import Gate, GatePlan, Situation
from distil.experts.random import RandomExpert
from distil.plans import Who
from distil.policies.acting import acting
from distil.policies.config import ActMode
from distil.policies.spec import PolicyRef
from distil.rollouts.config import NoiseConfig
from distil.rollouts.noise import Noise, make_noise
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


@dataclass(frozen=True, kw_only=True)
class Acted:
    """What N slots do next."""

    actions: Array  # [N, ...] to execute, in the environment's action space
    expert_actions: Array | None = None  # [N, ...] labels
    labelled: Array | None = None  # [N] bool, which labels exist; None: all, if there are labels
    acted_by_expert: Array  # [N] bool
    answered: Array | None = None  # [N] bool, which rows of `actions` are valid; None: all


class Agent(Protocol):
    """Acts in N slots. What it does in an episode depends on the episode's seed and the slot only."""

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""

    def act(self, observations: Observations, envs: Sequence[Any] | None, active: Array | None = None) -> Acted:
        """Return the next actions for the leaves [N, ...] of all slots; only those of `active` [N] slots matter."""


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
                raise InputError("labels are required, but no expert is configured: set expert.kind")
            return GatedAgent(policy_agent, expert, self.gate.build(num_envs, env.action.leaf))
        if self.who == "random":
            return RandomAgent(env.action.leaf)
        if expert is None:
            raise InputError("an expert should act, but none is configured: set expert.kind")
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
        try:
            labels = act(self._expert, observations, envs=envs, live=active)
        except (InputError, RunError):
            raise
        except Exception as error:  # the user's expert: any kind
            raise _raised(self._expert, error) from error
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
            try:
                return label(self._expert, observations, envs=envs, live=active, rows=rows)
            except (InputError, RunError):
                raise
            except Exception as error:  # the user's expert: any kind
                raise _raised(self._expert, error) from error

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


def _raised(expert: Expert, error: Exception) -> RunError:
    """Return the error of an expert that raised; the loop adds the environment, seed and step."""
    return RunError(f"expert {expert.name}: raised {type(error).__name__}: {error}; fix the expert")

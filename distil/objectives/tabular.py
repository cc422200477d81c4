"""Objectives that write the policy as a table, for environments whose dynamics are known.

Legend: B batch, S states, A actions.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from distil.envs.config import EnvConfig
from distil.envs.dynamics import Dynamics, dynamics_of
from distil.errors import InputError, RunError
from distil.heads.categorical import CategoricalHead
from distil.objectives.base import DEMOS, ObjectiveState
from distil.objectives.causal_entropy import CausalEntropy
from distil.objectives.tabular_config import CausalEntropySettings
from distil.policies.encoder_config import MlpConfig
from distil.policies.policy import Policy
from distil.rewards.frozen import FrozenReward, freeze
from distil.store.order import SampleSource
from distil.store.windows import WindowOptions
from distil.types import Array, Batch

_BLOCK = 65536  # samples
_MOST_NUMBERS = 3000  # of a table: each step solves a system of that size


class TableObjective(ABC):
    """See `distil.objectives.base.Objective` for the protocol. One step is all of the work: no second one changes anything."""

    def __init__(self, env: EnvConfig | None, policy: Policy) -> None:
        """Own `policy`, which is on its device already.

        Raises:
            InputError: the environment's dynamics are not known, or the policy is not a table.
        """
        self.policy, self.dynamics = policy, known_dynamics(env, policy)

    @property
    @abstractmethod
    def needs(self) -> Mapping[str, WindowOptions]:
        """Stream name -> what a sample of it holds."""

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """What a checkpoint holds, by name."""
        return {"policy": self.policy}

    @abstractmethod
    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Write the policy; return name -> scalar to report."""

    def fit_statistics(self, sources: Mapping[str, SampleSource]) -> Sequence[str]:
        """Do nothing: choices need no statistics."""
        return []

    def prepare(self, sources: Mapping[str, SampleSource]) -> Mapping[str, SampleSource]:
        """Return the sources as they are."""
        return sources

    def begin(self, num_steps: int) -> None:  # noqa: B027 (not abstract: there is nothing to do)
        """Do nothing: each step starts anew."""

    def reseed(self, seed: int) -> None:  # noqa: B027
        """Do nothing: nothing is random."""

    def validate(self, policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return minus the log-likelihood of each held-out step, [B]."""
        return policy.loss(batch)

    def figures(self) -> Mapping[str, float]:
        """Return none."""
        return {}

    def evaluation_policy(self) -> Policy:
        """Return a copy of the policy."""
        return copy.deepcopy(self.policy).eval()

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the weights of an earlier `evaluation_policy`."""
        self.policy.load_state_dict(dict(tensors))

    def state_dict(self) -> ObjectiveState:
        """Return all parts."""
        tensors = {
            f"{part}.{name}": value for part, module in self.parts.items() for name, value in module.state_dict().items()
        }
        return ObjectiveState(tensors=tensors, counters={})

    def load_state_dict(self, state: ObjectiveState) -> None:
        """Take over `state`; ValueError names the first tensor that is missing or has another shape."""
        for part, module in self.parts.items():
            own = module.state_dict()
            for name, value in own.items():
                held = state.tensors.get(f"{part}.{name}")
                if held is None or held.shape != value.shape:
                    there = "absent" if held is None else tuple(held.shape)
                    raise ValueError(f"{part}.{name} is {there} there and {tuple(value.shape)} in this configuration")
            module.load_state_dict({name: state.tensors[f"{part}.{name}"] for name in own})


class TabularIrl(TableObjective):
    """Maximum causal entropy IRL.

    It reads the demonstrations' observations and labels, never rewards, and of the environment only the dynamics.
    """

    def __init__(self, config: CausalEntropySettings, env: EnvConfig | None, policy: Policy) -> None:
        """Own `policy`, which is on its device already.

        Raises:
            InputError: the environment's dynamics are not known, or the policy is not a table.
        """
        super().__init__(env, policy)
        self._config, num_states, num_actions = config, self.dynamics.num_states, self.dynamics.num_actions
        self.reward = config.reward.build(num_states, num_actions, torch.Generator())
        self.reward.discount = config.discount
        if self.reward.table.numel() > _MOST_NUMBERS:
            raise InputError(
                f"algorithm.reward.sees={config.reward.sees}: a table of {self.reward.table.numel()} numbers is too large to "
                f"fit, the most are {_MOST_NUMBERS}; set algorithm.reward.sees=state, or use a smaller environment"
            )
        self._visits_SA: Array = np.zeros((num_states, num_actions))

    @property
    def needs(self) -> Mapping[str, WindowOptions]:
        """One stream, the demonstrations."""
        return {DEMOS: {}}

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The policy and the reward."""
        return {"policy": self.policy, "reward": self.reward}

    def evaluation_reward(self) -> FrozenReward:
        """Return a copy of the reward."""
        return freeze(self._config.reward, self.reward, self.policy, self._config.discount)

    def prepare(self, sources: Mapping[str, SampleSource]) -> Mapping[str, SampleSource]:
        """Count the demonstrations' steps, by their weights; return the sources as they are."""
        visits_SA = np.zeros_like(self._visits_SA)
        for batch in sources[DEMOS].scan(_BLOCK):
            states_B, actions_B = batch.observations["obs"].reshape(-1), batch.actions.reshape(-1)
            np.add.at(visits_SA, (states_B, actions_B), 1.0 if batch.weights is None else batch.weights)
        self._visits_SA = visits_SA / visits_SA.sum()
        return sources

    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Fit the reward to all demonstrations, and write its soft-optimal policy.

        Raises:
            RunError: it has not converged.
        """
        config = self._config
        problem = CausalEntropy(
            dynamics=self.dynamics,
            visits_SA=self._visits_SA,
            sees=config.reward.sees,
            discount=config.discount,
            l2=config.l2,
        )
        found = problem.fit(tolerance=config.tolerance, max_steps=config.max_steps)
        if found.gradient > config.tolerance:
            raise RunError(
                f"the reward has not converged: after {found.num_steps} steps its gradient is {found.gradient:.3g}, above "
                f"algorithm.tolerance={config.tolerance:g}; raise algorithm.l2 or algorithm.max_steps"
            )
        self.reward.table.copy_(torch.from_numpy(found.table).reshape(self.reward.table.shape))
        write(self.policy, found.plan.log_policy_SA)
        figures = {
            "loss": found.loss,
            "occupancy_gap": found.occupancy_gap,
            "gradient": found.gradient,
            "iterations": found.num_steps,
        }
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()}


def known_dynamics(env: EnvConfig | None, policy: Policy) -> Dynamics:
    """Return the dynamics of the run's environment for a policy that is a table.

    Raises:
        InputError: they are not known, or the policy is not a table.
    """
    if env is None:
        raise InputError("the dynamics are those of the environment: set env.id, such as FrozenLake-v1")
    found, encoder = dynamics_of(env), policy.config.encoder
    if not isinstance(encoder, MlpConfig) or encoder.hidden or not isinstance(policy.head, CategoricalHead):
        raise InputError(
            "the policy is a table of states and actions: leave policy.encoder and policy.head out, or set "
            "policy.encoder={kind: mlp, hidden: []} and policy.head.kind=auto"
        )
    return found


@torch.no_grad()
def write(policy: Policy, log_policy_SA: Array) -> None:
    """Make the log probabilities of actions, [S, A], those of the policy."""
    assert isinstance(policy.head, CategoricalHead)
    linear = policy.head.linear
    linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(log_policy_SA.T)))
    linear.bias.zero_()

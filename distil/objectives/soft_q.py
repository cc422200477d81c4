"""Soft Q-learning for Discrete actions: the policy is the softmax of its own values (Haarnoja et al., 2017, equations 2 to 4).

The policy's network is the Q-function: Q(s, a) = temperature * logit(s, a), so that pi(a|s) = softmax(Q(s, .) / temperature)
and V(s) = temperature * logsumexp(Q(s, .) / temperature). What acts in rollouts is what is learned.

Legend: B batch, N choices.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from distil.heads.categorical import CategoricalHead
from distil.objectives.inverse_q import inverse_loss
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.rl_config import SoftQConfig
from distil.objectives.steps import RLStep
from distil.objectives.trained import Trained, follow
from distil.objectives.transitions import Transitions
from distil.policies.policy import Policy
from distil.rewards.base import Rewards
from distil.rewards.config import ImpliedConfig
from distil.rewards.implied import ImpliedReward, LogitsReward


class _Target(nn.Module):
    """A slow copy of the policy's encoder and head."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.encoder, self.head = (copy.deepcopy(part).requires_grad_(False) for part in (policy.encoder, policy.head))


class SoftQ(RLStep):
    """One Q-function with a slow copy as the target.

    Args:
        config: the settings.
        policy: with a categorical head of one factor; trained in place.
        optimiser: weight decay and clipping.
        ranks: the group.
    """

    reads_features: ClassVar[bool] = False

    def __init__(self, config: SoftQConfig, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks) -> None:
        assert isinstance(policy.head, CategoricalHead)
        self._config, self._policy, self._has_statistics = config, policy, False
        self.discount = config.discount
        self.networks: _Target = _Target(policy).to(ranks.device)
        self._trained = Trained(
            {name: value for name, value in policy.named_parameters() if value.requires_grad}, optimiser, ranks
        )

    def learn(
        self, transitions: Transitions, rewards: Rewards | None, learning_rate: float, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Step the Q-function once, and move the target."""
        assert rewards is not None
        config, policy = self._config, self._policy
        if not self._has_statistics:  # the policy's were fitted after this was made
            self._has_statistics = True
            self._follow(0.0)
        logits_BN = self._logits(policy, transitions.observations)
        value_B = config.temperature * logits_BN.gather(1, transitions.actions_BA)[:, 0]
        with torch.no_grad():
            next_B = self._values(self._logits(self.networks, transitions.next_observations))
        if config.loss == "td":
            next_B = torch.where(transitions.terminated_B, self.after_end(rewards), next_B)
            loss = (value_B - rewards.rewards_B - self.discount * next_B).square().mean()
            figures: Mapping[str, Tensor] = {}
        else:
            loss, figures = inverse_loss(config, value_B, self._values(logits_BN), next_B, transitions, self.discount)
        self._trained.minimise(loss, learning_rate)
        self._follow(config.target_rate)
        return {"loss": loss.detach(), "value": value_B.detach().mean(), **figures}

    def implied(self) -> tuple[ImpliedConfig, ImpliedReward] | None:
        """Return the reward that the Q-function implies, unless it learns from rewards."""
        if self._config.loss == "td":
            return None
        model = LogitsReward(self._policy)
        model.temperature.fill_(self._config.temperature)
        return ImpliedConfig(), model

    def _follow(self, rate: float) -> None:
        follow(self.networks.encoder, self._policy.encoder, rate)
        follow(self.networks.head, self._policy.head, rate)

    def _logits(self, network: Policy | _Target, observations: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = network.head.logits(network.encoder(observations))  # type: ignore[operator]
        return out[:, 0, 0]

    def _values(self, logits_BN: Tensor) -> Tensor:
        return self._config.temperature * logits_BN.logsumexp(-1)

    def optimisers(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return the state of the optimiser."""
        return {"q": self._trained.tensors()}

    def load_optimisers(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load what `optimisers` returned."""
        self._trained.load(tensors["q"])

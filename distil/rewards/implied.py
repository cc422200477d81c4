"""The reward that a Q-function implies: r(s, a, s') = Q(s, a) - discount * V(s') (IQ-Learn: Garg et al., 2021, section 4).

V is that of the policy at the next state, also where the task ends. It contains the dynamics: which s' follows is in Q.

Legend: B batch, N networks, A action, K noise, D draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from distil.heads.categorical import CategoricalHead
from distil.heads.gaussian import GaussianHead
from distil.nn.critics import Critics
from distil.policies.policy import Policy
from distil.rewards.base import RewardModel, Rewards, Steps

_DRAWS = 16  # of the policy's actions at a state, for its value; always the same noise


class ImpliedReward(RewardModel):
    """What both have: a policy whose entropy has a weight, which is learned or fixed.

    Args:
        policy: owned.
    """

    reads_features: ClassVar[bool] = False
    reads_next: ClassVar[bool] = True
    temperature: Tensor

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        self.register_buffer("temperature", torch.ones(()))

    def _rewards(self, value_B: Tensor, next_B: Tensor) -> Rewards:
        rewards_B = value_B - self.discount * next_B
        return Rewards(rewards_B=rewards_B, absorbing_B=torch.zeros_like(rewards_B))


class LogitsReward(ImpliedReward):
    """Q(s, a) = temperature * logit of the policy, V(s) = temperature * logsumexp(logits)."""

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards."""
        logits_BN, next_BN = (self._logits(seen) for seen in (steps.observations, steps.next_observations))
        value_B = self.temperature * logits_BN.gather(1, steps.actions_BA)[:, 0]
        return self._rewards(value_B, self.temperature * next_BN.logsumexp(-1))

    def _logits(self, observations: Mapping[str, Tensor]) -> Tensor:
        assert isinstance(self.policy.head, CategoricalHead)
        return self.policy.head.logits(self.policy.encoder(observations))[:, 0, 0]


class CriticsReward(ImpliedReward):
    """Q is the mean of the critics, V(s) the mean of Q(s, a) - temperature * log pi(a|s) over draws of the policy.

    Args:
        policy: with a Gaussian head; owned.
        critics: of standardised features and actions; owned.
    """

    def __init__(self, policy: Policy, critics: Critics) -> None:
        super().__init__(policy)
        self.critics = critics

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards."""
        value_B = self._value(steps.observations, steps.actions_BA)
        return self._rewards(value_B, self._soft_value(steps.next_observations))

    def _value(self, observations: Mapping[str, Tensor], actions_BA: Tensor) -> Tensor:
        features_BF = self.policy.encoder.features(observations).flatten(1)
        values_NB: Tensor = self.critics(torch.cat([features_BF, actions_BA], -1))
        return values_NB.mean(0)

    def _soft_value(self, observations: Mapping[str, Tensor]) -> Tensor:
        head = self.policy.head
        assert isinstance(head, GaussianHead)
        context, total = self.policy.encoder(observations), torch.zeros((), device=self.temperature.device)
        noise_DK = torch.randn(_DRAWS, head.noise_size, generator=torch.Generator().manual_seed(0))
        for noise_K in noise_DK.to(total):
            actions_BTA, log_prob_BT = head.draw(context, noise_K.expand(len(context.pooled_BD), -1))
            total = total + self._value(observations, actions_BTA[:, 0]) - self.temperature * log_prob_BT[:, 0]
        return total / _DRAWS

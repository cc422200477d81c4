"""Rewards of a discriminator, which tells the expert's steps from the learner's.

GAIL: Ho and Ermon, 2016; DAC: Kostrikov et al., 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distil.rewards.base import RewardModel, Rewards, Steps
from distil.rewards.network import Input, StepNetwork, gradient_penalty, weighted

Shape = Literal["gail", "airl", "fairl"]


class Discriminator(RewardModel):
    """D = sigmoid(logit) is the chance that a step is the expert's; the reward is a function of the logit.

    gail: -log(1 - D), positive. airl: log D - log(1 - D) = logit, of both signs (the form that DAC uses). fairl:
    -logit exp(logit) (Ghasemipour et al., 2019), which wants to cover all that the expert does.

    Args:
        num_features: F.
        num_action: A.
        sees: what it judges.
        hidden: width of each layer.
        shape: of the reward.
        penalty: weight of the gradient penalty; 0: none.
        spectral: spectral normalisation.
        generator: of the start weights.
    """

    is_learned: ClassVar[bool] = True

    def __init__(
        self,
        num_features: int,
        num_action: int,
        *,
        sees: Input,
        hidden: Sequence[int],
        shape: Shape,
        penalty: float,
        spectral: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.network = StepNetwork(num_features, num_action, sees=sees, hidden=hidden, spectral=spectral, generator=generator)
        self._shape, self._penalty = shape, penalty

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards."""
        logits_B = self.network(self.network.inputs(steps))
        absorbing = self._reward(self.network(self.network.absorbing()))
        return Rewards(rewards_B=self._reward(logits_B), absorbing_B=absorbing.expand(len(logits_B)))

    def loss(
        self, expert: Steps, agent: Steps, discount: float, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the cross-entropy with the gradient penalty, and how often the discriminator is right."""
        network = self.network
        expert_BD, agent_BD = network.inputs(expert), network.inputs(agent)
        expert_B, agent_B, absorbing = network(torch.cat([expert_BD, agent_BD, network.absorbing()])).split(
            [len(expert_BD), len(agent_BD), 1]
        )
        loss = 0.5 * (
            weighted(softplus(-expert_B), softplus(-absorbing[0]), expert.terminated_B, discount)
            + weighted(softplus(agent_B), softplus(absorbing[0]), agent.terminated_B, discount)
        )
        accuracy = 0.5 * ((expert_B > 0).float().mean() + (agent_B < 0).float().mean())
        if self._penalty:
            loss = loss + self._penalty * gradient_penalty(network, expert_BD, agent_BD, generator)
        return loss, {"discriminator_accuracy": accuracy.detach()}

    def _reward(self, logits_B: Tensor) -> Tensor:
        if self._shape == "gail":
            return softplus(logits_B)
        return logits_B if self._shape == "airl" else -logits_B * logits_B.clamp(max=5).exp()

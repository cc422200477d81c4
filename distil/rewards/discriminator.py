"""Rewards of a discriminator, which tells the expert's steps from the learner's.

GAIL: Ho and Ermon, 2016; DAC: Kostrikov et al., 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distil.rewards.base import LearnedReward, Rewards, Steps
from distil.rewards.network import StepNetwork, weighted
from distil.rewards.saturation import Saturation

Shape = Literal["gail", "airl", "fairl"]
LARGEST = 10.0  # of a logit in a reward: the value of the absorbing state is up to 1 / (1 - discount) times that


class Discriminator(LearnedReward):
    """D = sigmoid(logit) is the chance that a step is the expert's; the reward is a function of the logit.

    gail: -log(1 - D), positive. airl: log D - log(1 - D) = logit, of both signs (the form that DAC uses). fairl:
    -logit exp(logit) (Ghasemipour et al., 2019), which wants to cover all that the expert does.

    Args:
        network: gives the logits.
        shape: of the reward.
        penalty: weight of the gradient penalty; 0: none.
    """

    def __init__(self, network: StepNetwork, *, shape: Shape, penalty: float) -> None:
        super().__init__()
        self.network, self.saturation = network, Saturation()
        self._shape, self._penalty = shape, penalty

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards."""
        logits_B = self.network(self.network.inputs(steps))
        absorbing = self.network.after_end(self._reward(self.network(self.network.absorbing())))
        return Rewards(rewards_B=self._reward(logits_B), absorbing_B=absorbing.expand(len(logits_B)))

    def loss(self, expert: Steps, agent: Steps, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the cross-entropy with the gradient penalty, and how often the discriminator is right."""
        network = self.network
        expert_B, agent_B, absorbing, penalty = network.judge(
            expert, agent, generator, penalty=self._penalty, discount=self.discount
        )
        rest = network.rest(self.discount)
        loss = 0.5 * (
            weighted(softplus(-expert_B), softplus(-absorbing), expert.terminated_B, rest)
            + weighted(softplus(agent_B), softplus(absorbing), agent.terminated_B, rest)
        )
        return loss + penalty, {"discriminator_accuracy": self.saturation.see(expert_B, agent_B)}

    def notes(self) -> Sequence[str]:
        """Return a warning, once, if it is saturated."""
        return self.saturation.notes()

    def _reward(self, logits_B: Tensor) -> Tensor:
        logits_B = logits_B.clamp(-LARGEST, LARGEST)
        if self._shape == "gail":
            return softplus(logits_B)
        return logits_B if self._shape == "airl" else -logits_B * logits_B.clamp(max=5).exp()

"""A reward by maximum likelihood under maximum entropy (ML-IRL: Zeng et al., 2022; f-IRL: Ni et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from distil.rewards.base import RewardModel, Rewards, Steps
from distil.rewards.network import Input, StepNetwork, gradient_penalty, weighted


class MaxEntReward(RewardModel):
    """A network that is raised where the expert is, and lowered where the learner is.

    The gradient of the demonstrations' log-likelihood is that of E_expert[r] - E_learner[r] (Zeng et al., 2022, theorem 1),
    with a penalty on the square of r, which keeps it finite.

    Args:
        num_features: F.
        num_action: A.
        sees: what the reward depends on; of the state alone, it transfers to other dynamics.
        hidden: width of each layer.
        penalty: weight of the gradient penalty; 0: none.
        square: weight of the mean square of the reward.
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
        penalty: float,
        square: float,
        spectral: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.network = StepNetwork(num_features, num_action, sees=sees, hidden=hidden, spectral=spectral, generator=generator)
        self._penalty, self._square = penalty, square

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards."""
        rewards_B = self.network(self.network.inputs(steps))
        return Rewards(rewards_B=rewards_B, absorbing_B=self.network(self.network.absorbing()).expand(len(rewards_B)))

    def loss(
        self, expert: Steps, agent: Steps, discount: float, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the difference of the mean rewards with its penalties, and that difference."""
        network = self.network
        expert_BD, agent_BD = network.inputs(expert), network.inputs(agent)
        expert_B, agent_B, absorbing = network(torch.cat([expert_BD, agent_BD, network.absorbing()])).split(
            [len(expert_BD), len(agent_BD), 1]
        )
        seen = ((agent_B, agent.terminated_B), (expert_B, expert.terminated_B))
        of_agent, of_expert = (weighted(values_B, absorbing[0], ended_B, discount) for values_B, ended_B in seen)
        squares = [weighted(values_B.square(), absorbing[0].square(), ended_B, discount) for values_B, ended_B in seen]
        gap = of_agent - of_expert
        loss = gap + self._square * 0.5 * (squares[0] + squares[1])
        if self._penalty:
            loss = loss + self._penalty * gradient_penalty(network, expert_BD, agent_BD, generator)
        return loss, {"reward_gap": -gap.detach()}

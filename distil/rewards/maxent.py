"""A reward by maximum likelihood under maximum entropy (ML-IRL: Zeng et al., 2022; f-IRL: Ni et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distil.rewards.base import LearnedReward, Rewards, Steps
from distil.rewards.network import StepNetwork, gradient_penalty, weighted


class MaxEntReward(LearnedReward):
    """A network that is raised where the expert is, and lowered where the learner is.

    The gradient of the demonstrations' log-likelihood is that of E_expert[r] - E_learner[r] (Zeng et al., 2022, theorem 1),
    with a penalty on the square of r, which keeps it finite.

    Args:
        network: gives the reward; of the state alone, it transfers to other dynamics.
        penalty: weight of the gradient penalty; 0: none.
        square: weight of the mean square of the reward.
    """

    def __init__(self, network: StepNetwork, *, penalty: float, square: float) -> None:
        super().__init__()
        self.network, self._penalty, self._square = network, penalty, square

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards."""
        rewards_B = self.network(self.network.inputs(steps))
        absorbing = self.network.after_end(self.network(self.network.absorbing()))
        return Rewards(rewards_B=rewards_B, absorbing_B=absorbing.expand(len(rewards_B)))

    def loss(self, expert: Steps, agent: Steps, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the difference of the mean rewards with its penalties, and that difference."""
        network = self.network
        expert_B, agent_B, absorbing, _ = network.judge(expert, agent, generator, penalty=0.0, discount=self.discount)
        penalty = expert_B.new_zeros(())
        if self._penalty:  # between steps alone: the squares bound the absorbing state, whose share would take most rows
            penalty = self._penalty * gradient_penalty(network, network.inputs(expert), network.inputs(agent), generator)
        seen, rest = ((agent_B, agent.terminated_B), (expert_B, expert.terminated_B)), network.rest(self.discount)
        of_agent, of_expert = (weighted(values_B, absorbing, ended_B, rest) for values_B, ended_B in seen)
        squares = [weighted(values_B.square(), absorbing.square(), ended_B, rest) for values_B, ended_B in seen]
        gap = of_agent - of_expert
        loss = gap + self._square * 0.5 * (squares[0] + squares[1]) + penalty
        return loss, {"reward_gap": -gap.detach()}

"""AIRL's reward, which is apart from what the environment's dynamics add (Fu et al., 2018, arXiv:1710.11248).

The discriminator is exp(f) / (exp(f) + pi(a|s)) with f(s, a, s') = g + discount * h(s') - h(s) (equation 4 and section 5): its
logit is f - log pi. g is the reward that can be used elsewhere, h a potential: shaping by it changes no best policy.

Legend: B batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distil.rewards.base import LearnedReward, Rewards, Steps
from distil.rewards.discriminator import LARGEST
from distil.rewards.network import StepNetwork, weighted
from distil.rewards.saturation import Saturation


class AirlReward(LearnedReward):
    """log D - log(1 - D) = f - log pi, for a step that adds no entropy of its own.

    The potential of the absorbing state is 0, so the shaping's second part is 0 at the task's end, and only there: over an
    episode that a limit of time cuts after T steps, the discounted shaping is discount^T h(s_T) - h(s_0).

    Args:
        reward: g.
        potential: h, of the state alone.
        penalty: weight of the gradient penalty on both; 0: none.
    """

    needs_log_probs: ClassVar[bool] = True

    def __init__(self, reward: StepNetwork, potential: StepNetwork, *, penalty: float) -> None:
        super().__init__()
        self.reward, self.potential, self.saturation = reward, potential, Saturation()
        self._penalty = penalty

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards."""
        assert steps.log_probs_B is not None
        shaped_B = self.bare(steps) + self._shaping(steps)
        rewards_B = (shaped_B - steps.log_probs_B).clamp(-LARGEST, LARGEST)
        return Rewards(rewards_B=rewards_B, absorbing_B=self._absorbing().expand(len(rewards_B)))

    def elsewhere(self, steps: Steps) -> Rewards:
        """Return g alone."""
        bare_B = self.bare(steps)
        return Rewards(rewards_B=bare_B, absorbing_B=self._absorbing().expand(len(bare_B)))

    def _absorbing(self) -> Tensor:
        return self.reward.after_end(self.reward(self.reward.absorbing()).clamp(-LARGEST, LARGEST))

    def bare(self, steps: Steps) -> Tensor:
        """Return g, [B]: the reward to use elsewhere, without potential and density of a policy."""
        out: Tensor = self.reward(self.reward.inputs(steps))
        return out

    def _shaping(self, steps: Steps) -> Tensor:
        """Return discount * h(s') - h(s), [B], with h = 0 in the absorbing state."""
        after = replace(steps, features_BF=steps.next_features_BF)
        before_B, after_B = (self.potential(self.potential.inputs(seen)) for seen in (steps, after))
        out: Tensor = self.discount * after_B.masked_fill(steps.terminated_B, 0.0) - before_B
        return out

    def loss(self, expert: Steps, agent: Steps, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the cross-entropy with the gradient penalties, and how often the discriminator is right."""
        assert expert.log_probs_B is not None
        assert agent.log_probs_B is not None
        expert_B, agent_B, absorbing, penalty = self.reward.judge(
            expert, agent, generator, penalty=self._penalty, discount=self.discount
        )
        *_, potential_penalty = self.potential.judge(expert, agent, generator, penalty=self._penalty, discount=self.discount)
        expert_B = expert_B + self._shaping(expert) - expert.log_probs_B
        agent_B = agent_B + self._shaping(agent) - agent.log_probs_B
        rest = self.reward.rest(self.discount)
        loss = 0.5 * (
            weighted(softplus(-expert_B), softplus(-absorbing), expert.terminated_B, rest)
            + weighted(softplus(agent_B), softplus(absorbing), agent.terminated_B, rest)
        )
        figures = {"discriminator_accuracy": self.saturation.see(expert_B, agent_B)}
        return loss + penalty + potential_penalty, figures

    def notes(self) -> Sequence[str]:
        """Return a warning, once, if the discriminator is saturated."""
        return self.saturation.notes()

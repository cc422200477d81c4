"""Rewards that are not learned: the environment's own, and a constant for demonstrations."""

from __future__ import annotations

from typing import ClassVar

import torch

from distil.rewards.base import RewardModel, Rewards, Steps


class EnvironmentReward(RewardModel):
    """The environment's own reward; nothing comes after the end of the task. For training experts."""

    reads_rewards: ClassVar[bool] = True
    reads_features: ClassVar[bool] = False
    needs_demos: ClassVar[bool] = False

    def forward(self, steps: Steps) -> Rewards:
        """Return the stored rewards."""
        assert steps.rewards_B is not None
        return Rewards(rewards_B=steps.rewards_B, absorbing_B=torch.zeros_like(steps.rewards_B))


class ConstantReward(RewardModel):
    """1 for each step of a demonstration, 0 for each of the learner's (SQIL: Reddy et al., 2020, section 3.1).

    The absorbing state after a demonstration's end is the expert's, too.
    """

    reads_features: ClassVar[bool] = False

    def forward(self, steps: Steps) -> Rewards:
        """Return 1 or 0."""
        rewards_B = steps.is_expert_B.to(steps.features_BF.dtype)
        return Rewards(rewards_B=rewards_B, absorbing_B=rewards_B)

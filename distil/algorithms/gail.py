"""GAIL: generative adversarial imitation learning (Ho and Ermon, 2016, arXiv:1606.03476)."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import OnPolicyConfig
from distil.objectives.rl_config import StepConfig
from distil.rewards.config import DiscriminatorConfig, RewardConfig


class GailConfig(OnPolicyConfig):
    """A discriminator's reward, learned on-policy with PPO."""

    kind: Literal["gail"] = "gail"
    reward: DiscriminatorConfig = DiscriminatorConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the discriminator."""
        return self.step, self.reward

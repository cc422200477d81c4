"""AIRL: adversarial inverse reinforcement learning (Fu et al., 2018, arXiv:1710.11248)."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import OnPolicyConfig
from distil.objectives.rl_config import StepConfig
from distil.rewards.config import AirlConfig as AirlRewardConfig
from distil.rewards.config import RewardConfig


class AirlConfig(OnPolicyConfig):
    """A reward apart from the environment's dynamics, learned on-policy with PPO."""

    kind: Literal["airl"] = "airl"
    reward: AirlRewardConfig = AirlRewardConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the reward."""
        return self.step, self.reward

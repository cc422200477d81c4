"""GAIL: generative adversarial imitation learning (Ho and Ermon, 2016, arXiv:1606.03476)."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import PpoConfig, StepConfig
from distil.rewards.config import DiscriminatorConfig, RewardConfig


class GailConfig(ByInteractionConfig):
    """A discriminator's reward, learned on-policy with PPO."""

    kind: Literal["gail"] = "gail"
    steps: int = 200_000
    steps_per_round: int = 2048
    random_steps: int = 0
    step: PpoConfig = PpoConfig()
    reward: DiscriminatorConfig = DiscriminatorConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the discriminator."""
        return self.step, self.reward

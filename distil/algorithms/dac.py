"""DAC: discriminator-actor-critic (Kostrikov et al., 2019, arXiv:1809.02925)."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SacConfig, StepConfig
from distil.rewards.config import DiscriminatorConfig, RewardConfig


class DacConfig(ByInteractionConfig):
    """A discriminator's reward, learned off-policy."""

    kind: Literal["dac"] = "dac"
    step: StepConfig = SacConfig()
    reward: DiscriminatorConfig = DiscriminatorConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the discriminator."""
        return self.step, self.reward

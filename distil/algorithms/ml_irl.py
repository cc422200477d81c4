"""ML-IRL: inverse reinforcement learning by maximum likelihood (Zeng et al., 2022, arXiv:2210.01808)."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SacConfig, StepConfig
from distil.rewards.config import MaxEntConfig, RewardConfig


class MlIrlConfig(ByInteractionConfig):
    """A reward by maximum likelihood, with an ensemble of critics."""

    kind: Literal["ml_irl"] = "ml_irl"
    step: StepConfig = SacConfig(num_critics=4)
    reward: MaxEntConfig = MaxEntConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the reward."""
        return self.step, self.reward

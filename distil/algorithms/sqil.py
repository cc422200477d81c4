"""SQIL: soft Q imitation learning (Reddy et al., 2020, arXiv:1905.11108)."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SoftQConfig, StepConfig
from distil.rewards.config import ConstantConfig, RewardConfig


class SqilConfig(ByInteractionConfig):
    """Reward 1 for the steps of demonstrations, 0 for the learner's own. Long runs may decay."""

    kind: Literal["sqil"] = "sqil"
    step: StepConfig = SoftQConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the constant reward."""
        return self.step, ConstantConfig()

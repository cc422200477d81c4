"""Reinforcement learning on the environment's own reward: how experts are trained."""

from __future__ import annotations

from typing import Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import PpoConfig, StepConfig
from distil.rewards.config import EnvironmentConfig, RewardConfig


class RlConfig(ByInteractionConfig):
    """A step of reinforcement learning on the environment's reward, without demonstrations."""

    kind: Literal["rl"] = "rl"
    step: StepConfig = PpoConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the environment's reward."""
        return self.step, EnvironmentConfig()

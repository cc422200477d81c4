"""Reinforcement learning on the environment's own reward: how experts are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from distil.algorithms.base import Needs
from distil.algorithms.interaction import ByInteractionConfig
from distil.algorithms.rllib_config import RllibConfig
from distil.objectives.rl_config import PpoConfig, StepConfig
from distil.rewards.config import EnvironmentConfig, RewardConfig


class RlConfig(ByInteractionConfig):
    """A step of reinforcement learning on the environment's reward, without demonstrations."""

    kind: Literal["rl"] = "rl"
    step: StepConfig = PpoConfig()
    backend: Literal["distil", "rllib"] = "distil"  # who trains: distil's own step, or RLlib on the Ray cluster
    rllib: RllibConfig = RllibConfig()

    @model_validator(mode="after")
    def _consistent(self) -> RlConfig:
        if self.backend == "distil" and self.rllib != RllibConfig():
            raise ValueError("rllib has no effect with backend=distil: set backend=rllib, or remove it")
        return self

    @property
    def needs(self) -> Needs:
        """It acts by samples, and learns from its own steps only. An expert is the reference of scores, if there is one."""
        return Needs(acts=True, act="sample", demonstrations=False, backend=self.backend)

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the environment's reward."""
        return self.step, EnvironmentConfig()

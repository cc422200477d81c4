"""PWIL: primal Wasserstein imitation learning (Dadashi et al., 2021, arXiv:2006.04678)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SacConfig, SoftQConfig, StepConfig
from distil.rewards.config import PwilConfig as PwilRewardConfig
from distil.rewards.config import RewardConfig


class PwilConfig(ByInteractionConfig):
    """A fixed reward for being where the demonstrations are, learned off-policy."""

    kind: Literal["pwil"] = "pwil"
    step: Annotated[SacConfig | SoftQConfig, Field(discriminator="kind")] = SacConfig()
    reward: PwilRewardConfig = PwilRewardConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the reward."""
        return self.step, self.reward

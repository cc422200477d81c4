"""CSIL: coherent soft imitation learning (Watson, Huang and Heess, 2023, arXiv:2305.16498)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SacConfig, StepConfig
from distil.rewards.config import CoherentConfig, RewardConfig


class CsilConfig(ByInteractionConfig):
    """The policy starts as a clone (`learner.num_steps` gradient steps) and is rewarded for acting where the clone is sure."""

    learner_defaults: ClassVar[Mapping[str, Any]] = {**ByInteractionConfig.learner_defaults, "num_steps": 5000}
    policy_defaults: ClassVar[Mapping[str, Any]] = {"head": {"kind": "gaussian", "min_log_std": -2.0}}

    kind: Literal["csil"] = "csil"
    random_steps: int = 0
    step: SacConfig = SacConfig(temperature=0.05, actor_from=5000)
    reward: CoherentConfig = CoherentConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the clone's reward."""
        return self.step, self.reward

"""CSIL: coherent soft imitation learning (Watson, Huang and Heess, 2023, arXiv:2305.16498)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SacConfig, StepConfig
from distil.rewards.config import CoherentConfig, RewardConfig


class CsilConfig(ByInteractionConfig):
    """The policy starts as a clone, and is rewarded for acting as the clone does where the clone is sure.

    Critics that have only started to learn would lead the policy away from the clone at once. So they learn alone at first,
    they are normalised, pairs of them are read by their minimum, and the policy stays anchored to the demonstrations.
    """

    policy_defaults: ClassVar[Mapping[str, Any]] = {"head": {"kind": "gaussian", "min_log_std": -3.0}}

    kind: Literal["csil"] = "csil"
    random_steps: int = Field(default=0, ge=0)
    pretraining_steps: int = Field(default=8000, ge=1)  # gradient steps of the clone
    step: SacConfig = SacConfig(num_critics=4, combine="pairs", layer_norm=True, temperature=0.05, actor_from=5000, anchor=10.0)
    reward: CoherentConfig = CoherentConfig()

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the clone's reward."""
        return self.step, self.reward

    @property
    def num_pretraining(self) -> int:
        """Gradient steps of the clone."""
        return self.pretraining_steps

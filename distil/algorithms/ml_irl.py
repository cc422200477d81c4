"""ML-IRL: inverse reinforcement learning by maximum likelihood (Zeng et al., 2022, arXiv:2210.01808)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SacConfig, StepConfig
from distil.rewards.config import MaxEntConfig, RewardConfig


class MlIrlConfig(ByInteractionConfig):
    """A reward by maximum likelihood, with an ensemble of critics.

    The reward learns slowly on purpose. One that tells the learner from the expert at once is as low for all that the learner
    does, and shows no direction. The policy seeks what the critics disagree on (Viel et al., 2025, arXiv:2502.19859, IL-SOAR).
    """

    learner_defaults: ClassVar[Mapping[str, Any]] = {
        **ByInteractionConfig.learner_defaults,
        "learning_rate": 1e-3,
        "batch_size": 64,
    }

    kind: Literal["ml_irl"] = "ml_irl"
    random_steps: int = Field(default=2000, ge=0)
    step: StepConfig = SacConfig(num_critics=4, combine="pairs", optimism=1.0)
    reward: MaxEntConfig = MaxEntConfig(rate=0.03, square=0.2)

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step and the reward."""
        return self.step, self.reward

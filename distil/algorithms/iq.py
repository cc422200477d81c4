"""IQ-Learn (Garg et al., 2021, arXiv:2106.12142) and LS-IQ (Al-Hafez et al., 2023, arXiv:2303.00599)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from distil.algorithms.base import Needs
from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.config import InteractionConfig
from distil.objectives.rl_config import SoftQConfig, StepConfig
from distil.rewards.config import ConstantConfig, RewardConfig


class IqConfig(ByInteractionConfig):
    """A Q-function directly from demonstrations: the reward is what it implies. `step.loss` chooses between the two."""

    losses: ClassVar[tuple[str, ...]] = ("iq", "ls_iq")

    kind: Literal["iq"] = "iq"
    step: StepConfig = SoftQConfig(loss="iq")
    offline_updates: int | None = Field(default=None, ge=1)
    """Gradient steps on the demonstrations alone, without acting; null: the learner acts. Not for LS-IQ."""

    @model_validator(mode="after")
    def _may_be_offline(self) -> Self:
        if self.offline_updates is not None and self.parts[0].loss != "iq":  # type: ignore[union-attr]
            raise ValueError("offline_updates needs step.loss=iq: LS-IQ contrasts demonstrations with the learner's own steps")
        return self

    @property
    def objective(self) -> InteractionConfig:
        """What the learner steps."""
        return super().objective.model_copy(update={"offline": self.offline_updates is not None})

    @property
    def needs(self) -> Needs:
        """Offline, its policy doesn't act."""
        return super().needs if self.offline_updates is None else Needs()

    @property
    def num_pretraining(self) -> int:
        """Gradient steps before the learner acts."""
        return self.offline_updates or 0

    @property
    def num_acting(self) -> int:
        """Steps of the learner in the environment."""
        return self.steps if self.offline_updates is None else 0

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step; its loss needs no reward."""
        return self.step, ConstantConfig()

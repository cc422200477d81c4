"""IQ-Learn (Garg et al., 2021, arXiv:2106.12142) and LS-IQ (Al-Hafez et al., 2023, arXiv:2303.00599)."""

from __future__ import annotations

from typing import ClassVar, Literal

from distil.algorithms.interaction import ByInteractionConfig
from distil.objectives.rl_config import SoftQConfig, StepConfig
from distil.rewards.config import ConstantConfig, RewardConfig


class IqConfig(ByInteractionConfig):
    """A Q-function directly from demonstrations: the reward is what it implies. `step.loss` chooses between the two."""

    losses: ClassVar[tuple[str, ...]] = ("iq", "ls_iq")

    kind: Literal["iq"] = "iq"
    step: StepConfig = SoftQConfig(loss="iq")

    @property
    def parts(self) -> tuple[StepConfig, RewardConfig]:
        """The step; its loss needs no reward."""
        return self.step, ConstantConfig()

"""Settings of objectives that plan in known dynamics. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from distil.config import Config
from distil.rewards.config import TabularConfig


class CausalEntropySettings(Config):
    """Settings of `distil.objectives.causal_entropy`."""

    reward: TabularConfig = TabularConfig()
    discount: float = Field(default=0.95, ge=0, lt=1)
    l2: float = Field(default=1e-4, gt=0)  # weight of the square of the reward
    tolerance: float = Field(default=1e-8, gt=0)  # of the gradient, whose entries are shares of the steps
    max_steps: int = Field(default=500, ge=1)  # of Fisher scoring; a run that has not converged by then fails

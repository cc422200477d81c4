"""`learner:` where and how long to train; with the optimiser's keys."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distil.objectives.augment_config import AugmentConfig
from distil.objectives.optimiser_config import OptimiserConfig
from distil.store.reading import ReadConfig


class LearnerConfig(OptimiserConfig):
    """A learner's settings. Steps count gradient steps of an update, whose batch is the global one."""

    num_learners: int = Field(default=0, ge=0)  # ranks on Ray Train; 0: in this process
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1)  # of torch, each rank
    num_steps: int = Field(default=5000, ge=1)
    batch_size: int = Field(default=256, ge=1)
    validation_fraction: float = Field(default=0.0, ge=0, lt=1)  # of the episodes, about; held out for good
    validate_every: int = Field(default=500, ge=1)
    patience: int | None = Field(default=None, ge=1)  # validations without a new best before it stops; the best is restored
    checkpoint_every: int = Field(default=2000, ge=1)
    augment: tuple[AugmentConfig, ...] = ()  # of training batches, one after another, on the learner's device
    read: ReadConfig = ReadConfig()  # in memory if the demonstrations fit its budget, streamed otherwise

    @model_validator(mode="after")
    def _consistent(self) -> LearnerConfig:
        if self.patience is not None and self.validation_fraction == 0:
            raise ValueError("patience needs held-out episodes: set validation_fraction, such as 0.1")
        if self.num_learners > 1 and self.batch_size % self.num_learners:
            raise ValueError(f"batch_size {self.batch_size} isn't divisible by num_learners {self.num_learners}")
        return self

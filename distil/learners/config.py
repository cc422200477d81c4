"""`learner:` where and how long to train; with the optimiser's keys."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from distil.objectives.augment_config import AugmentConfig
from distil.objectives.optimiser_config import OptimiserConfig
from distil.placement import PlacementConfig
from distil.store.reading import ReadConfig


class LearnerConfig(OptimiserConfig, PlacementConfig):
    """A learner's settings. Steps are gradient steps of one update; batch_size is that of all ranks together.

    `labels` and `resources` are those of each rank on Ray Train.
    """

    num_learners: int = Field(default=0, ge=0)  # number of ranks on Ray Train; 0: train in this process
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1)  # of torch, per rank
    num_steps: int = Field(default=5000, ge=1)
    batch_size: int = Field(default=256, ge=1)
    validation_fraction: float = Field(
        default=0.0, ge=0, lt=1
    )  # approximate fraction of the episodes that is held out, always the same ones
    validate_every: int = Field(default=500, ge=1)
    patience: int | None = Field(default=None, ge=1)  # stop after N validations without a new best, and restore the best
    checkpoint_every: int = Field(default=2000, ge=1)
    augment: tuple[AugmentConfig, ...] = ()  # changes of training batches, in this order, on the learner's device
    read: ReadConfig = ReadConfig()  # in memory if the demonstrations fit its budget, streamed otherwise

    @model_validator(mode="after")
    def _consistent(self) -> LearnerConfig:
        if self.patience is not None and self.validation_fraction == 0:
            raise ValueError("patience needs held-out episodes: set validation_fraction, such as 0.1")
        if self.num_learners > 1 and self.batch_size % self.num_learners:
            raise ValueError(f"batch_size {self.batch_size} isn't divisible by num_learners {self.num_learners}")
        return self

"""`rollouts.service:` experts that run outside the workers, and how they are asked."""

from __future__ import annotations

import math

from pydantic import Field

from distil.placement import PlacementConfig


class ServiceConfig(PlacementConfig):
    """Experts in their own Ray actors; a desk collects the workers' questions into batches."""

    replicas: int = Field(default=1, ge=1)  # actors that hold the expert
    num_cpus: float = Field(default=1.0, ge=0)  # of each
    num_gpus: float = Field(default=0.0, ge=0)  # of each; a policy that needs torch acts on it
    concurrency: int = Field(default=1, ge=1)  # simultaneous calls in each; above 1, the expert must be thread-safe
    max_batch: int = Field(default=256, ge=1)  # largest number of observations in a call
    max_wait_s: float = Field(default=0.005, ge=0)  # longest time that an observation waits for a batch to fill
    timeout_s: float = Field(default=60.0, gt=0)  # of a call; after it the actor is replaced
    retries: int = Field(default=5, ge=0)  # of a failed call; after them its steps stay unlabelled
    backoff_s: float = Field(default=0.1, ge=0)  # before the first retry; doubles with each retry, up to 10 s
    calls_per_s: float | None = Field(default=None, gt=0)  # limit for all actors together
    cache: int = Field(default=1_000_000, ge=1)  # labels kept in memory, by observation: equal observations are asked once
    keep: bool = True  # keep labels on disk (in `runs`) as they arrive: after a crash they are not asked again

    @property
    def num_cpus_wanted(self) -> int:
        """Logical CPUs that the actors need from Ray, rounded up."""
        return math.ceil(self.replicas * self.num_cpus)

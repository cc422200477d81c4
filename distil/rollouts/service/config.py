"""`rollouts.service:` how experts are asked that don't live in the workers."""

from __future__ import annotations

import math

from pydantic import Field

from distil.config import Config


class ServiceConfig(Config):
    """Experts in Ray actors of their own; a desk collects the workers' questions into batches for them."""

    replicas: int = Field(default=1, ge=1)  # actors that hold the expert
    num_cpus: float = Field(default=1.0, ge=0)  # of each
    num_gpus: float = Field(default=0.0, ge=0)
    concurrency: int = Field(default=1, ge=1)  # calls at a time in each; above 1, the expert must allow threads
    max_batch: int = Field(default=256, ge=1)  # observations in a call, at most
    max_wait_s: float = Field(default=0.005, ge=0)  # that an observation waits for others to fill the batch
    timeout_s: float = Field(default=60.0, gt=0)  # of a call; then the actor is replaced
    retries: int = Field(default=5, ge=0)  # of a call that failed; then its steps stay without a label
    backoff_s: float = Field(default=0.1, ge=0)  # before the first retry; doubles with each, up to 10 s
    calls_per_s: float | None = Field(default=None, gt=0)  # at most, of all actors together
    cache: int = Field(default=1_000_000, ge=1)  # labels kept in memory, by observation: equal ones are asked once
    keep: bool = True  # keep labels on disk (in `runs`) as they come: what a crash interrupts isn't asked for twice

    @property
    def num_cpus_wanted(self) -> int:
        """Logical CPUs that the actors want of Ray, rounded up."""
        return math.ceil(self.replicas * self.num_cpus)

"""How rollouts are done: workers, environments a worker, noise on the expert's actions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat

from distil.cluster import START_TIMEOUT_S
from distil.config import Config
from distil.rollouts.service.config import ServiceConfig


class NoiseConfig(Config):
    """Noise on what the expert executes; the stored label is always its clean action.

    Covering the states around the expert's path makes clones more robust: Laskey et al., DART, arXiv:1703.09327.
    """

    kind: Literal["none", "epsilon", "gaussian"] = "none"
    level: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 0.1
    """epsilon: the chance of a uniformly random action at a step. gaussian: standard deviation, in half action ranges; a
    list has one for each dimension of the action."""


class RolloutConfig(Config):
    """`rollouts:` the fleet of workers."""

    num_workers: int = Field(default=2, ge=0)  # Ray actors, a core each; 0: in this process, without Ray
    num_envs: int = Field(default=32, ge=1)  # environments a worker; part of what makes a run repeatable
    infos: tuple[str, ...] = ()  # keys of the infos that steps return, to be stored as JSON; what only reset returns is not
    shard_bytes: int = Field(default=128 * 2**20, gt=0)  # a worker seals a shard once it holds this many bytes
    address: str | None = None  # of a running Ray cluster; otherwise RAY_ADDRESS, otherwise one is started here
    service: ServiceConfig | None = None  # ask experts in actors of their own; None: they live in the workers
    start_timeout_s: float = Field(default=START_TIMEOUT_S, gt=0.0)  # that Ray's actors (experts, learners too) wait for room

    @property
    def num_cpus(self) -> int:
        """Logical CPUs that workers and served experts want of Ray."""
        return self.num_workers + (self.service.num_cpus_wanted if self.service else 0)

"""Configuration of rollouts: workers, environments per worker, noise on the expert's actions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat

from distil.cluster import START_TIMEOUT_S
from distil.config import Config
from distil.rollouts.service.config import ServiceConfig


class NoiseConfig(Config):
    """Noise on the actions that the expert executes; the stored label is always its clean action.

    Covering the states around the expert's path makes clones more robust: Laskey et al., DART, arXiv:1703.09327.
    """

    kind: Literal["none", "epsilon", "gaussian"] = "none"
    level: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 0.1
    """epsilon: the probability of a uniformly random action at a step. gaussian: the standard deviation, in half action
    ranges; a list has one for each dimension of the action."""


class RolloutConfig(Config):
    """`rollouts:` the fleet of workers."""

    num_workers: int = Field(default=2, ge=0)  # Ray actors, one core each; 0: in this process, without Ray
    num_envs: int = Field(default=32, ge=1)  # environments per worker; the same number is needed to repeat a run exactly
    infos: tuple[str, ...] = ()  # keys of the infos of steps to store as JSON; infos of reset are not stored
    shard_bytes: int = Field(default=128 * 2**20, gt=0)  # a worker seals a shard once it holds this many bytes
    address: str | None = None  # of a running Ray cluster; null: RAY_ADDRESS, otherwise one is started here
    service: ServiceConfig | None = None  # run experts in their own actors; null: in the workers
    start_timeout_s: float = Field(
        default=START_TIMEOUT_S, gt=0.0
    )  # time limit for Ray actors (also experts, learners) to start

    @property
    def num_cpus(self) -> int:
        """Logical CPUs that workers and served experts need from Ray."""
        return self.num_workers + (self.service.num_cpus_wanted if self.service else 0)

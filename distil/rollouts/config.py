"""Configuration of rollouts: workers, environments per worker, noise on the expert's actions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from distil.cluster import START_TIMEOUT_S, num_cores
from distil.config import Config
from distil.placement import PlacementConfig
from distil.rollouts.service.config import ServiceConfig


def _number(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:  # a line for each member of the union
        raise ValueError(f"should be auto or a number of Ray actors, such as 4 (0: no Ray), not {value!r}") from None


NumWorkers = Annotated[Annotated[int, Field(ge=0)] | Literal["auto"], WrapValidator(_number)]


class NoiseConfig(Config):
    """Noise on the actions that the expert executes; the stored label is always its clean action.

    Covering the states around the expert's path makes clones more robust: Laskey et al., DART, arXiv:1703.09327.
    """

    kind: Literal["none", "epsilon", "gaussian"] = "none"
    level: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 0.1
    """epsilon: the probability of a uniformly random action at a step. gaussian: the standard deviation, in half action
    ranges; a list has one for each dimension of the action."""


class RolloutConfig(PlacementConfig):
    """`rollouts:` the fleet of workers; `labels` and `resources` are those of each Ray actor."""

    num_workers: NumWorkers = "auto"
    """Ray actors, one core each; 0: in this process, without Ray.

    auto: Ray actors on the cluster that `address` or RAY_ADDRESS names. Without one, work begins in this process. A Ray session
    is started on this machine, and takes over the rest, once that saves more than the 20 seconds that it takes to start
    (`distil.rollouts.sizing`); or at once if the run uses other processes anyway (`service`, `algorithm.overlap`,
    `learner.num_learners`). With one core, work stays in this process. Episodes are the same wherever they run."""
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
        workers = num_cores() if self.num_workers == "auto" else self.num_workers
        return workers + (self.service.num_cpus_wanted if self.service else 0)

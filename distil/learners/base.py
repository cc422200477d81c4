"""The interface of learners: an update plan turns a learner's policy into the next version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from distil.fence import Check, unfenced
from distil.learners.config import LearnerConfig
from distil.objectives.config import ObjectiveConfig, SupervisedConfig
from distil.plans import Metrics, UpdatePlan
from distil.policies.spec import PolicyRef
from distil.rewards.ref import RewardRef

if TYPE_CHECKING:
    from distil.learners.data import Streams
    from distil.policies.config import PolicyConfig
    from distil.store.schema import StoreSpec


Watch = Callable[[int, PolicyRef], None]


def unwatched(step: int, policy: PolicyRef) -> None:
    """Look at no policy."""


class Learner(Protocol):
    """Trains a policy, one update plan after another."""

    @property
    def policy(self) -> PolicyRef:
        """The policy after the last finished update; version 0 is the untrained one."""

    @property
    def reward(self) -> RewardRef | None:
        """The reward that the last finished update learned; None: the objective learns none."""

    def update(self, plan: UpdatePlan, streams: Streams, watch: Watch = unwatched) -> Metrics:
        """Carry out `plan`; return metrics `train/*` and `time/*`. An update that a checkpoint holds the end of isn't repeated.

        Args:
            plan: number of steps, streams, weights.
            streams: the pinned data of each stream in `plan.streams`.
            watch: called with the steps taken and the policy, where `plan.watch` says so. After a resume, steps that are
                repeated are shown again.
        """

    def close(self) -> None:
        """Free processes and memory; checkpoints are kept."""


@dataclass(frozen=True, kw_only=True)
class LearnerSetup:
    """Everything that a rank is built from, in this process or another."""

    config: LearnerConfig
    policy: PolicyConfig
    spec: StoreSpec
    folder: Path  # of the checkpoints; shared by all ranks
    seed: int
    resume: bool
    objective: ObjectiveConfig = field(default_factory=SupervisedConfig)
    check: Check = unfenced  # before a checkpoint appears

"""What a learner is to the run: it holds a policy, and a plan makes the next version of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from distil.learners.config import LearnerConfig
from distil.objectives.config import ObjectiveConfig, SupervisedConfig
from distil.plans import Metrics, UpdatePlan
from distil.policies.spec import PolicyRef

if TYPE_CHECKING:
    from distil.learners.data import Streams
    from distil.policies.config import PolicyConfig
    from distil.store.schema import StoreSpec


class Learner(Protocol):
    """Makes the next version of a policy from a plan and a snapshot."""

    @property
    def policy(self) -> PolicyRef:
        """The policy after the last finished update; version 0 is the untrained one."""

    def update(self, plan: UpdatePlan, streams: Streams) -> Metrics:
        """Carry out `plan`; return `train/*` and `time/*` figures. A plan that is done already isn't repeated.

        Args:
            plan: what to do.
            streams: what to train on, by the names that `plan.streams` has.
        """

    def close(self) -> None:
        """Free processes and memory; the checkpoints stay."""


@dataclass(frozen=True, kw_only=True)
class LearnerSetup:
    """All that a rank needs to build itself, in this process or another one."""

    config: LearnerConfig
    policy: PolicyConfig
    spec: StoreSpec
    folder: Path  # of the checkpoints; every rank must see it
    seed: int
    resume: bool
    objective: ObjectiveConfig = field(default_factory=SupervisedConfig)

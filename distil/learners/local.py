"""The learner in this process: one rank, no Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distil.learners.base import LearnerSetup, Watch, unwatched
from distil.learners.rank import Rank, choose_device
from distil.objectives.ranks import Ranks
from distil.plans import Metrics, UpdatePlan
from distil.policies.spec import PolicyRef
from distil.rewards.ref import RewardRef
from distil.types import Note, Progress, silent, unheard

if TYPE_CHECKING:
    from distil.learners.data import Streams


class LocalLearner:
    """One rank in this process: the default, for small models, DAgger rounds and Tune trials."""

    def __init__(self, setup: LearnerSetup, progress: Progress = silent, note: Note = unheard) -> None:
        """Build the policy, or load the newest checkpoint if `setup.resume`; InputError if the device doesn't exist."""
        self._rank = Rank(setup, ranks=Ranks(device=choose_device(setup.config.device)), progress=progress, note=note)

    @property
    def policy(self) -> PolicyRef:
        """The policy after the last finished update; version 0 is the untrained one."""
        return self._rank.policy

    @property
    def reward(self) -> RewardRef | None:
        """The reward that the last finished update learned; None: the objective learns none."""
        return self._rank.reward

    def update(self, plan: UpdatePlan, streams: Streams, watch: Watch = unwatched) -> Metrics:
        """Carry out `plan`; an update that a checkpoint holds the end of isn't repeated."""
        return self._rank.update(plan, streams, watch)

    def close(self) -> None:
        """Free the memory of the data."""
        self._rank.close()

"""One worker in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from distil.policies.spec import PolicyRef
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.threads import one_thread
from distil.rollouts.work import MAX_WAVES, Assignment, Outcome, Setup, StoppedError, Tell
from distil.rollouts.worker import Worker


class LocalPool:
    """One worker in this process."""

    def __init__(self, setup: Setup) -> None:
        self.largest = MAX_WAVES * setup.num_envs  # episodes of a group
        self._worker = Worker(setup)

    def run(
        self,
        assignment: Assignment,
        items: Sequence[EpisodeItem],
        policy: PolicyRef | None,
        outcome: Outcome,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> None:
        """See `Workers.run`."""
        groups = (items[start : start + self.largest] for start in range(0, len(items), self.largest))
        self.run_groups(assignment, groups, policy, outcome, tell, stopped)

    @one_thread()
    def run_groups(
        self,
        assignment: Assignment,
        groups: Iterable[Sequence[EpisodeItem]],
        policy: PolicyRef | None,
        outcome: Outcome,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> None:
        """Run groups of items, with one thread; the next group is taken when the last one is done. Otherwise as `run`."""
        known, recorded = 0, assignment.target is not None
        try:
            for group in groups:
                report = self._worker.run(
                    assignment, group, policy, known=known, stop=stopped, tell=lambda stats: tell([stats])
                )
                outcome.take(report, recorded)
                known += len(report.sealed)
                report.raise_error()
                if stopped():
                    raise StoppedError
        except BaseException:
            outcome.take(self._worker.seal(known), recorded)
            raise
        report = self._worker.seal(known)
        outcome.take(report, recorded)
        report.raise_error()

    def close(self) -> None:
        """Close the environments."""
        self._worker.close()

"""One worker in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distil.rollouts.loop import EpisodeItem
from distil.rollouts.threads import one_thread
from distil.rollouts.work import MAX_WAVES, Job, Setup, StoppedError
from distil.rollouts.worker import Worker


class LocalPool:
    """One worker in this process."""

    def __init__(self, setup: Setup) -> None:
        self.largest = MAX_WAVES * setup.num_envs  # episodes of a group
        self._worker = Worker(setup)

    def run(self, job: Job) -> None:
        """See `Workers.run`."""
        starts = range(0, len(job.items), self.largest)
        self.run_groups(job, (job.items[start : start + self.largest] for start in starts))

    @one_thread()
    def run_groups(self, job: Job, groups: Iterable[Sequence[EpisodeItem]]) -> None:
        """Run these groups instead of the job's items, with one thread; the next one is taken when the last one is done."""
        known, recorded = 0, job.assignment.target is not None
        try:
            for group in groups:
                report = self._worker.run(
                    job.assignment, group, job.policy, known=known, stop=job.stopped, tell=lambda stats: job.tell([stats])
                )
                job.outcome.take(report, recorded)
                known += len(report.sealed)
                report.raise_error()
                if job.stopped():
                    raise StoppedError
            report = self._worker.seal(known)
            job.outcome.take(report, recorded)
        except BaseException:
            job.outcome.take(self._worker.seal(known), recorded)  # again, if the interrupt came while it sealed
            raise
        report.raise_error()

    def close(self) -> None:
        """Close the environments."""
        self._worker.close()

"""A job from its start to its end: its output, each line once, through lost connections; and how it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from distil.errors import RunError
from distil.jobs.client import Dashboard, RefusedError, UnreachableError
from distil.jobs.job import Job, find_job, read_job

STOP_WAIT_S = 30  # from SIGINT to SIGKILL
_POLL_S = 1.0
_CHARACTERS_PER_S = 100_000  # of output that is asked for again and again, on average
_LONGEST_POLL_S = 30.0
_GIVE_UP_S = 600.0  # without an answer
_LAST_OUTPUT_S = 30.0  # for the output of a job that has ended; its node may be gone
_KILL_S = 15.0  # for the cluster to notice that a killed job has ended

Write = Callable[[str], None]
Clock = Callable[[], float]


class Follower:
    """Prints what a job prints. Mutable: it knows how much has been printed.

    The dashboard gives a job's whole output, so a connection that is lost, or an answer that is cut, loses and repeats nothing.
    Long outputs are asked for less often.

    Args:
        dashboard: the cluster's.
        job_id: of the job.
        write: gets whole lines, and at the end what is left.
        note: gets one line on what happens to the connection.
        wait: sleeps for some seconds.
        clock: seconds since a fixed moment.
    """

    def __init__(
        self,
        dashboard: Dashboard,
        job_id: str,
        write: Write,
        note: Write,
        *,
        wait: Callable[[float], None] = time.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self._dashboard, self._id, self._write, self._note = dashboard, job_id, write, note
        self._wait, self._clock = wait, clock
        self._printed = 0  # characters
        self._is_unreadable = False

    def follow(self) -> Job:
        """Print until the job has ended; return it.

        Raises:
            InputError: the cluster does not know the job, or no longer takes the token.
            RunError: no answer for ten minutes, or the cluster has forgotten the job.
        """
        lost_at: float | None = None
        answered_at = self._clock()
        while True:
            asked, job = self._clock(), None
            try:
                job = self._look()
                self._print(self._logs(), whole=job.has_ended)
            except UnreachableError as error:
                if lost_at is None:
                    lost_at = asked
                    self._note(f"connection lost ({error}); the job continues, trying again")
                answered_at = answered_at if job is None else self._clock()
                if job is not None and job.has_ended and self._clock() - lost_at > _LAST_OUTPUT_S:
                    self._note(f"job {self._id}: the end of its output cannot be read ({error})")
                    return job
                if self._clock() - answered_at > _GIVE_UP_S:
                    minutes = f"{_GIVE_UP_S / 60:.0f} minutes"
                    raise RunError(f"job {self._id}: no answer for {minutes} ({error}); the job may still run") from None
                self._wait(_POLL_S)
                continue
            if lost_at is not None:
                self._note(f"connected again after {self._clock() - lost_at:.0f} s")
            lost_at, answered_at = None, self._clock()
            if job.has_ended:
                return job
            self._wait(min(_LONGEST_POLL_S, max(_POLL_S, self._printed / _CHARACTERS_PER_S)))

    def print_once(self) -> Job:
        """Print what the job has printed so far; return it."""
        job = find_job(self._dashboard, self._id)
        self._print(self._logs(), whole=True)
        return job

    def _look(self) -> Job:
        """Return the job. It is asked for before its output, which is complete if the job has ended."""
        data = self._dashboard.job(self._id)
        if data is None:
            raise RunError(
                f"job {self._id}: the cluster no longer knows it: its head node was restarted; submit the command again, and a "
                "run with a name continues"
            )
        return read_job(data)

    def _logs(self) -> str | None:
        try:
            return self._dashboard.logs(self._id)
        except RefusedError as error:  # its node is gone, or it printed no text: the status still tells its end
            if not self._is_unreadable:
                self._note(f"job {self._id}: its output cannot be read ({error})")
                self._is_unreadable = True
            return None

    def _print(self, text: str | None, *, whole: bool) -> None:
        if text is None:
            return
        new = text[self._printed :]
        if not whole:
            new = new[: new.rfind("\n") + 1]
        if new:
            self._write(new)
            self._printed += len(new)


def stop(
    dashboard: Dashboard, job: Job, *, wait: Callable[[float], None] = time.sleep, clock: Clock = time.monotonic
) -> tuple[Job, str]:
    """Stop a job that has not ended: SIGINT, and SIGKILL after 30 s. Return it with a sentence on what happened.

    Raises:
        RunError: it has not ended in that time, or the connection was lost.
    """
    asked = clock()
    dashboard.stop(job.id)
    while (took := clock() - asked) < STOP_WAIT_S + _KILL_S:
        with suppress(UnreachableError):
            job = find_job(dashboard, job.id)
        if job.has_ended:
            if job.status != "STOPPED":
                return job, f"ended by itself: {job.status}"
            how = (
                "interrupted; its run is kept" if took < STOP_WAIT_S else f"did not end in {STOP_WAIT_S} s after SIGINT: killed"
            )
            return job, f"{how}. The same command, submitted again, continues a run with a name"
        wait(_POLL_S)
    state = "it has not started yet, and is stopped when it does" if job.status == "PENDING" else "it still runs"
    raise RunError(
        f"job {job.id}: asked to stop {took:.0f} s ago, but {state}; look at it with `distil submit status {job.id}`"
    )

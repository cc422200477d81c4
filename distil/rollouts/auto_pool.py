"""Workers where they cost least: in this process, until Ray actors pay (see `distil.rollouts.sizing`)."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from distil.console import duration
from distil.errors import InputError, RunError
from distil.rollouts.config import RolloutConfig
from distil.rollouts.local_pool import LocalPool
from distil.rollouts.ray_pool import RayPool
from distil.rollouts.sizing import Sizing
from distil.rollouts.work import Job, Setup
from distil.types import Note


class AutoPool:
    """One worker in this process; once they pay, Ray actors on this machine take over.

    Args:
        setup: what each worker needs.
        config: of the Ray actors.
        note: told where the work runs, and why.
        sizing: decides.
    """

    def __init__(self, setup: Setup, config: RolloutConfig, note: Note, sizing: Sizing | None = None) -> None:
        self._setup, self._config, self._note = setup, config, note
        self._sizing = Sizing() if sizing is None else sizing
        self._local = LocalPool(setup)
        self._actors: RayPool | None = None
        self._told = False

    def run(self, job: Job) -> None:
        """See `Workers.run`."""
        left = deque(job.items)
        if self._actors is None:
            chunks = self._sizing.chunks(left, self._setup.num_envs, self._local.largest, self._take_over)
            self._local.run_groups(job, chunks)
            self._tell(len(job.items))
        if self._actors is not None and left:
            self._actors.limit = max(self._actors.limit or 0, self._sizing.num_workers(len(left)))
            self._actors.run(replace(job, items=list(left)))

    def close(self) -> None:
        """Close the environments, and end the actors."""
        self._local.close()
        if self._actors is not None:
            self._actors.close()

    def _take_over(self, num_left: int) -> bool:
        """Prepare the actors; return whether they can run the items that are left."""
        num, time_left = self._sizing.num_workers(num_left), duration(self._sizing.rest_s(num_left))
        self._told = True
        try:
            self._actors = RayPool(self._setup, self._config, limit=num)
        except (InputError, RunError) as error:
            self._note(f"rollouts: all work stays in this process: {error}")
            return False
        self._note(f"rollouts: {num} Ray actors take over: {num_left} episodes would take {time_left} more in this process")
        return True

    def _tell(self, num: int) -> None:
        """Say once that the work is small; free what the actors replace."""
        if self._actors is not None:
            self._local.close()
        if not self._told:
            self._told = True
            spent = duration(self._sizing.spent_s)
            self._note(f"rollouts: in this process, without Ray: {num} episodes took {spent}, less than Ray takes to start")

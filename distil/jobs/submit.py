"""Starts a job: the package first, then the job under an id that is chosen here, so that a lost answer never starts two."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from distil.cluster import SESSION
from distil.errors import InputError, RunError
from distil.jobs.client import Dashboard, RefusedError, UnreachableError
from distil.jobs.follow import STOP_WAIT_S
from distil.jobs.job import COMMAND, DIGEST, Job, digest_of, find_job, read_job, require_id
from distil.jobs.package import Package
from distil.jobs.work import Work

SETTINGS = {
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # with `uv run`, Ray would pack the working folder again
}
_THREADS = "OMP_NUM_THREADS"
_TRIES, _PAUSE_S = 10, 2.0
_NO_AGENT = (
    "the head node's agent, which starts jobs, does not run; if another Ray of this host has its port, "
    "give `ray start --head` another --dashboard-agent-listen-port (52365)"
)
T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """All that a job needs."""

    work: Work
    package: Package
    environment: Mapping[str, str] = field(default_factory=dict)  # from here; its values are shown to nobody
    python: str = "python"

    @property
    def entrypoint(self) -> str:
        """The shell command of the job. Ray limits its processes to one thread: the command gets those of a run without Ray."""
        threads = "" if _THREADS in self.environment else f"env -u {_THREADS} "
        return threads + self.work.entrypoint(self.python)

    @property
    def names(self) -> list[str]:
        """The names of the environment variables that travel."""
        return sorted({*SETTINGS, SESSION, *self.environment})

    @property
    def digest(self) -> str:
        """What tells it from another submission with the same id."""
        return digest_of(self.entrypoint, self.package.name, json.dumps(sorted(self.environment.items())))

    def request(self, job_id: str, placement: Mapping[str, Any], session: str | None = None) -> dict[str, Any]:
        """Return Ray's request; the job refuses to run on another cluster than that of the session."""
        its = {} if session is None else {SESSION: session}
        return {
            "submission_id": job_id,
            "entrypoint": self.entrypoint,
            "runtime_env": {
                "working_dir": f"gcs://{self.package.name}",
                "env_vars": {**SETTINGS, **its, **self.environment},
            },
            "metadata": {COMMAND: shlex.join(self.work.words), DIGEST: self.digest},
        } | dict(placement)


def read_environment(names: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of these names; InputError if one is not set, or the job sets it itself."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(f"--env {name.partition('=')[0]}: give the name alone; the value is that of this environment")
        if name in (*SETTINGS, SESSION):
            raise InputError(f"--env {name}: the job sets it itself; leave it out")
        if name not in os.environ:
            raise InputError(f"--env {name}: not set in this environment")
    return {name: os.environ[name] for name in names}


def new_id(work: Work) -> str:
    """Return an id for a job: what it is, and a random part."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", work.name).strip("-._")[:60] or "job"
    return f"{name}-{secrets.token_hex(4)}"


def submit(
    dashboard: Dashboard,
    submission: Submission,
    job_id: str,
    place: Callable[[], Mapping[str, Any]],
    *,
    wait: Callable[[float], None] = time.sleep,
) -> tuple[Job, str]:
    """Start a job, unless the cluster has it already. Return it, and a note if it has, or if it has the package.

    Args:
        dashboard: the cluster's.
        submission: what to start.
        job_id: the same id again never starts a second job.
        place: returns the fields of the request that place the driver.
        wait: sleeps for some seconds.

    Raises:
        InputError: the id is taken by another job.
        RunError: the cluster does not answer, or does not start it.
    """
    require_id(job_id)
    if (found := _again(lambda: _found(dashboard, submission, job_id), job_id, wait)) is not None:
        return found, "it was submitted before"
    request = submission.request(job_id, _again(place, job_id, wait), dashboard.session)
    sent = _again(lambda: _send_package(dashboard, submission.package), job_id, wait)

    def start() -> Job:
        try:
            dashboard.start(request)
        except RefusedError as error:  # it is there already, if an earlier answer was lost
            if (found := _found(dashboard, submission, job_id)) is not None:
                return found
            if "No available agent" in str(error):  # a young cluster's has not started yet
                raise UnreachableError(f"{dashboard.url}: {_NO_AGENT}") from None
            raise
        return find_job(dashboard, job_id)

    return _again(start, job_id, wait), "" if sent else "the cluster has these files already"


def _again(ask: Callable[[], T], job_id: str, wait: Callable[[float], None]) -> T:
    """Return what `ask` returns; it is asked again while the dashboard does not answer."""
    for _ in range(_TRIES):
        try:
            return ask()
        except UnreachableError as error:
            reason = error
        wait(_PAUSE_S)
    raise RunError(f"{reason}; try again with --id {job_id}, which never starts a second job")


def _send_package(dashboard: Dashboard, package: Package) -> bool:
    if dashboard.has_package(package.name):
        return False
    dashboard.upload(package.name, package.zip())
    return True


def _found(dashboard: Dashboard, submission: Submission, job_id: str) -> Job | None:
    """Return the job of that id if it is this submission's; None: there is none. InputError if it is another's."""
    data = dashboard.job(job_id)
    if data is None:
        return None
    job = read_job(data)
    if job.digest != submission.digest:
        raise InputError(f"--id {job_id}: is taken by another job ({job.command}); choose another id, or leave --id out")
    return job

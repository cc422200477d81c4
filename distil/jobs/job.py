"""A job of the cluster, as its dashboard describes it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distil.errors import InputError
from distil.jobs.client import Dashboard

COMMAND, DIGEST = "distil_command", "distil_digest"  # of a job's metadata
INTERRUPTED = 130
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that distil submitted."""

    id: str
    status: str  # PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED
    command: str  # the arguments of distil
    digest: str  # of all that was submitted
    started_s: float  # since 1970
    ended_s: float | None
    code: int | None  # of its process; negative: the signal that killed it
    message: str  # what Ray says of its status

    @property
    def has_ended(self) -> bool:
        """Whether its status is final."""
        return self.status in _ENDED

    @property
    def exit_code(self) -> int | None:
        """What the command exited with; 1 if it could not be started or was killed; None: it has not ended."""
        if not self.has_ended:
            return None
        if self.status == "STOPPED":
            return INTERRUPTED
        return self.code if self.code is not None and 0 <= self.code < 256 and self.code not in (126, 127) else 1

    @property
    def age_s(self) -> float:
        """Seconds from its start to its end, or to now."""
        return (self.ended_s or time.time()) - self.started_s

    def fault(self, python: str = "") -> str | None:
        """Return in one line why it failed, if its own output does not say so."""
        if self.status != "FAILED":
            return None
        if self.code in (126, 127) or "No module named distil" in self.message:
            what = f"`{python}`" if python else "the Python of its command"
            return (
                f"{what} on the cluster has no distil: install distil on every node, and name the interpreter that has it with "
                "--python /path/to/bin/python"
            )
        if self.code is None:
            reason = " ".join(self.message.split())
            if "actor died" in reason:
                why = reason.partition("The actor died because ")[2] or reason
                return f"it ended with its node or its supervisor ({why[:300]}); submitted again, a run with a name continues"
            return f"it could not be run: {reason[:600]}"
        if self.code < 0 or self.code in (137, 143):
            return f"its process was killed (signal {abs(self.code) % 128}): out of memory, or its node was stopped"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        ended = {"ended": self.ended_s, "exit_code": self.exit_code} if self.has_ended else {}
        fault = {"fault": reason} if (reason := self.fault()) else {}
        return {"id": self.id, "status": self.status, "command": self.command, "started": self.started_s} | ended | fault


def read_job(data: Mapping[str, Any]) -> Job:
    """Return the job that an answer of the dashboard describes."""
    metadata = data.get("metadata") or {}
    return Job(
        id=str(data.get("submission_id") or data.get("job_id")),
        status=str(data["status"]),
        command=metadata.get(COMMAND, str(data.get("entrypoint"))),
        digest=metadata.get(DIGEST, ""),
        started_s=(data.get("start_time") or 0) / 1000,
        ended_s=data["end_time"] / 1000 if data.get("end_time") else None,
        code=data.get("driver_exit_code"),
        message=str(data.get("message") or ""),
    )


def find_job(dashboard: Dashboard, job_id: str) -> Job:
    """Return a job; InputError if the cluster knows none of that id."""
    data = dashboard.job(job_id)
    if data is None:
        raise InputError(f"job {job_id}: this cluster knows no such job; `distil submit list` shows them")
    return read_job(data)


def list_jobs(dashboard: Dashboard) -> Sequence[Job]:
    """Return the jobs that distil submitted, the newest first."""
    found = [read_job(data) for data in dashboard.jobs() if COMMAND in (data.get("metadata") or {})]
    return sorted(found, key=lambda job: -job.started_s)


def require_id(job_id: str) -> None:
    """Raise InputError if a job cannot have this id."""
    if not _ID.fullmatch(job_id):
        raise InputError(f"--id {job_id}: at most 100 letters, digits, '_', '.' and '-', such as mine-1")


def digest_of(*parts: str) -> str:
    """Return the digest of what is submitted."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

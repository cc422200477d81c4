"""Runs, sweeps and demos whose process was killed: MLflow would show them as running forever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from distil.errors import InputError, SupersededError
from distil.fence import hold, was_held
from distil.rundir import RunDir
from distil.tracking import Outbox, outboxes

_AT_A_TIME = 32  # those of other hosts are watched for some seconds


def end_abandoned(folder: Path) -> list[Path]:
    """Record that the runs in and below a folder were killed, if no process holds them and they are not finished.

    The record is for `distil sync` to send. A run that is continued later opens again.

    Returns:
        The folders of these runs.

    Raises:
        RunError: an outbox is damaged, or the disk refuses.
    """
    unfinished = [outbox for outbox in outboxes(folder) if was_held(outbox.folder) and not RunDir(outbox.folder).is_finished]
    left = [outbox for outbox in unfinished if _open_until(outbox) is not None]
    if not left:
        return []
    with ThreadPoolExecutor(min(len(left), _AT_A_TIME)) as threads:
        return [outbox.folder for outbox, is_ended in zip(left, threads.map(_end, left), strict=True) if is_ended]


def _end(outbox: Outbox) -> bool:
    with suppress(InputError, SupersededError), hold(outbox.folder, "run") as held:  # another process runs it, or starts to
        at = _open_until(outbox)
        if at is not None and not RunDir(outbox.folder).is_finished:
            held.check()
            outbox.append("end", status="KILLED", tags={}, at=at)
            outbox.close()
            return True
    return False


def _open_until(outbox: Outbox) -> int | None:
    """Return the time of the last record, in milliseconds, if the run has started and did not record its end."""
    at, is_open = 0, False
    for record, _ in outbox.read(0):
        at, kind = record["at"], record["kind"]
        is_open = kind == "start" or (is_open and kind != "end")
    return at if is_open else None

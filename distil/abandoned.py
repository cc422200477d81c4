"""Runs, sweeps and demos whose process was killed: MLflow would show them as running forever."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from distil.errors import InputError
from distil.rundir import LOCK, RunDir, locked
from distil.tracking import Outbox, outboxes


def end_abandoned(folder: Path) -> list[Path]:
    """Record that the runs in and below a folder were killed, if no process holds them and they are not finished.

    The record is for `distil sync` to send. A run that is continued later opens again.

    Returns:
        The folders of these runs.

    Raises:
        RunError: an outbox is damaged, or the disk refuses.
    """
    return [outbox.folder for outbox in outboxes(folder) if _end(outbox)]


def _end(outbox: Outbox) -> bool:
    folder = outbox.folder
    if not (folder / LOCK).is_file() or RunDir(folder).is_finished:
        return False
    with suppress(InputError), locked(folder, "run"):  # another process runs it
        at = _open_until(outbox)
        if at is not None:
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

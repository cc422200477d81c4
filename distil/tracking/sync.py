"""Sends what outboxes still hold, such as after a run during which MLflow did not answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distil.errors import InputError, RunError
from distil.redaction import is_redacted
from distil.tracking.delivery import Delivery
from distil.tracking.outbox import Outbox, outboxes
from distil.tracking.server import Server
from distil.types import Progress, say, silent

_ANSWER_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What `sync` sent."""

    num_runs: int  # that have records
    num_records: int  # that had not been sent
    to: Sequence[str]  # MLflow's addresses, without passwords


def sync(folders: Sequence[Path], *, uri: str | None = None, progress: Progress = silent) -> Synced:
    """Send what the runs in and below `folders` have recorded and not sent; done twice, it gives the same history.

    Args:
        folders: of runs, or of folders that hold runs at any depth.
        uri: MLflow's tracking URI; None: the one that each run was recorded for.
        progress: told of runs as they are done, and shown notes.

    Raises:
        InputError: a folder holds no records, or the address of a run had a password, which is not saved.
        RunError: MLflow does not answer or refuses a record. What was sent is not lost.
    """
    found = list({outbox.path.resolve(): outbox for folder in folders for outbox in _in(folder)}.values())
    servers: dict[str, Server] = {}
    addresses = {outbox.path: uri or address_of(outbox) for outbox in found}
    num_records = 0
    for done, outbox in enumerate(found):
        address = addresses[outbox.path]
        server = servers.setdefault(address, Server(address))
        num_records += _send(server, outbox, progress)
        progress("sync", done + 1, len(found))
    return Synced(num_runs=len(found), num_records=num_records, to=sorted({server.name for server in servers.values()}))


def _in(folder: Path) -> list[Outbox]:
    found = outboxes(folder)
    if not found:
        raise InputError(f"{folder}: no run there has records for MLflow; give a run's folder or one that holds runs")
    return found


def address_of(outbox: Outbox) -> str:
    """Return MLflow's tracking URI that a run was last recorded for; InputError if it had a password that is not given now."""
    to = ""
    for record, _ in outbox.read(0):
        to = record["to"] if record["kind"] == "start" else to
    if not is_redacted(to):
        return to
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        raise InputError(
            f"{outbox.folder}: recorded for {to}, and passwords are not saved: give the whole address with --uri or in the "
            "environment variable MLFLOW_TRACKING_URI"
        )
    return given


def _send(server: Server, outbox: Outbox, progress: Progress) -> int:
    """Send one run's records; return how many had not been sent."""
    delivery = Delivery(server, outbox, lambda text: say(progress, text))
    left = outbox.left()
    try:
        server.require_answer(_ANSWER_S)
        delivery.send()
    except (InputError, RunError):
        raise
    except Exception as error:  # MLflow passes on whatever SQLAlchemy, requests or a plugin raises
        raise RunError(f"{server.fault(error)}; the records stay in {outbox.path}: repeat distil sync later") from error
    if not delivery.is_done:
        say(progress, f"{outbox.folder}: its run is sending its records now")
        return 0
    return left

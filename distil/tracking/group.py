"""Runs that belong together, such as a sweep's trials: a parent run, and one sender for all of them.

The members record into their own folders and open no database, so that any number of processes may train at once. They name the
parent by its unique id, which needs no answer of MLflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from distil.durable import make_folders
from distil.errors import SupersededError
from distil.fence import Check, unfenced
from distil.tracking.base import NullTracker, Status, Tracker
from distil.tracking.config import TrackingConfig
from distil.tracking.outbox import Outbox, outboxes
from distil.tracking.recorder import Recorder
from distil.tracking.sender import Sender
from distil.tracking.server import Server
from distil.types import Progress, say, silent

_DEPTH = 2  # folders below the parent's, such as trials/<id>


@dataclass(frozen=True, kw_only=True)
class Group:
    """An open parent run."""

    parent: str  # its unique id, for `distil.train(..., parent=)` and `parts.tracked`
    tracker: Tracker  # of the parent itself
    tags: dict[str, str] = field(default_factory=dict)  # that the parent gets at its end


@contextmanager
def grouped(
    config: TrackingConfig,
    experiment: str,
    folder: Path,
    name: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    progress: Progress = silent,
    check: Check = unfenced,
) -> Iterator[Group]:
    """Open a parent run in `folder`, or continue the one that is there; send what it and the runs below record meanwhile.

    The parent is closed with the status that the block ended with. Members have to be in the same experiment.

    Args:
        config: of the members.
        experiment: the name to use unless the configuration has one.
        folder: of the parent; its members are at most two folders further down.
        name: the parent's name, for people.
        params: what distinguishes it.
        tags: free text by key.
        progress: shown in one line that MLflow does not answer, and what is left to send at the end.
        check: called before the parent's outbox is written; see `distil.fence`.

    Raises:
        InputError: MLflow cannot be used; see `TrackingConfig.check`. Nothing has started then.
    """
    config.check(experiment)
    address = config.address()
    tracker: Tracker = NullTracker()
    if address is not None:
        make_folders(folder)
        server = Server(address)
        sender = Sender(server, lambda: outboxes(folder, _DEPTH), partial(say, progress))
        tracker = Recorder(Outbox(folder, check), server.name, config.experiment or experiment, sender, is_parent=True)
    status: Status = "FAILED"
    ends: dict[str, str] = {}
    try:
        yield Group(parent=tracker.start(name, params or {}, tags), tracker=tracker, tags=ends)
        status = "FINISHED"
    except (KeyboardInterrupt, SupersededError):
        status = "KILLED"
        raise
    finally:
        tracker.finish(status, ends)

"""What a run notes so that it reads the same when it is resumed: the versions of stores that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distil.errors import RunError
from distil.rollouts import Collected
from distil.rundir import RunDir
from distil.store import Store
from distil.types import Progress, say


def parse(lines: Sequence[Mapping[str, Any]]) -> list[Collected]:
    """Return what lines of the journal say was collected; those of older versions lack fields."""
    known = [{name: line[name] for name in Collected.__dataclass_fields__ if name in line} for line in lines]
    return [Collected(**{**line, "uids": tuple(line.get("uids", ()))}) for line in known]


def pin(store: Store, version: int, rundir: RunDir, progress: Progress) -> None:
    """Keep a version from being dropped until the run is finished; a store that may only be read is used without that."""
    rundir.check()
    try:
        store.pin(version, name_of(rundir))
    except RunError as error:
        say(progress, f"{store.path}: version {version} is not protected from `distil store drop` ({error})")


def name_of(rundir: RunDir) -> str:
    """Return the name of a run's pins."""
    return str(rundir.path.resolve())

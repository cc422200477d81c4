"""The episodes of a run, read without carrying it on: its demonstrations, and what its own policies did last."""

from __future__ import annotations

from collections.abc import Sequence

from distil.rollouts import select
from distil.runconfig import RunConfig
from distil.rundata.demos import chosen
from distil.rundata.pinning import parse
from distil.rundir import RunDir
from distil.store import Snapshot, Store


def demonstrations_of(config: RunConfig, rundir: RunDir) -> Sequence[Snapshot]:
    """Return the episodes that a run has learned from, without those of its own policies; none if it needs none.

    Raises:
        InputError: a store is gone.
        RunError: episodes are gone.
    """
    if not config.algorithm.needs.demonstrations:
        return ()
    if config.data.mixture is not None:
        known = rundir.find("pinned", 0)
        return config.data.mixture.pin(known["versions"] if known else None).resolve()
    collected = parse(rundir.journal("collected"))
    return [chosen(Store.open(config.store_path), collected, config.data.select)] if collected else ()


def newest_of(rundir: RunDir) -> Snapshot | None:
    """Return what is kept of the episodes of a run's own policies; None: it keeps none.

    Raises:
        RunError: episodes are gone.
    """
    lines = rundir.journal("agent")
    kept = [line for line in lines if line["round"] >= lines[-1]["oldest"]]
    return select(Store.open(rundir.agent), parse(kept)) if kept else None

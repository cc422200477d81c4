"""Which episodes of a store are a run's own: a pure function of what its journal says was collected, and of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distil.errors import RunError
from distil.rollouts.collector import episode_uids
from distil.store import Snapshot, Store


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The episodes that a round brought; a line of the journal."""

    round: int
    snapshot: int  # version of the store that has them
    stream: str | None = None  # None: all episodes of that version, whoever made them
    num_episodes: int = 0


def select(store: Store, collected: Sequence[Collected], num_rounds: int | None = None) -> Snapshot:
    """Return the episodes of the last `num_rounds` rounds (None: of all), at the last round's version.

    Args:
        store: it may hold other episodes too.
        collected: one entry a round that collected, in their order; not empty.
        num_rounds: how many of the entries count.

    Raises:
        RunError: an episode isn't there any more.
    """
    snapshot, wanted = store.snapshot(collected[-1].snapshot), set[str]()
    for part in collected[-num_rounds:] if num_rounds else collected:
        if part.stream is None:
            wanted.update(store.snapshot(part.snapshot).episodes.uid.tolist())
        else:
            wanted.update(episode_uids(part.stream, part.round, part.num_episodes))
    found = np.flatnonzero(np.isin(snapshot.episodes.uid, list(wanted)))
    if len(found) < len(wanted):
        raise RunError(
            f"{store.path}: {len(wanted) - len(found)} of the {len(wanted)} episodes that this run collected are not in "
            f"version {snapshot.version}: restore the store, or start a new run"
        )
    return snapshot.select(found)


def spent(data: Snapshot) -> dict[str, float]:
    """Return `budget/*`: what the episodes of a run have cost."""
    num_labels = int(data.episodes.num_labelled.sum())
    return {
        "budget/demonstrations": int((data.episodes.policy_version < 0).sum()),  # no learned policy acted
        "budget/env_steps": data.num_transitions,
        "budget/expert_labels": num_labels,
        "budget/unlabelled_steps": data.num_transitions - num_labels,
    }

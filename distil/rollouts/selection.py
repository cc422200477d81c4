"""Which episodes of a store are a run's own: a pure function of what its journal says was collected, and of the store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distil.errors import InputError, RunError
from distil.plans import Spent
from distil.rollouts.stream import episode_uids, is_collected
from distil.store import SelectionConfig, Snapshot, Store
from distil.store.index import EpisodeIndex
from distil.store.mixture import distinct


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The episodes that a round brought; a line of the journal."""

    round: int
    snapshot: int  # version of the store that has them
    stream: str | None = None  # None: nothing was collected; without `uids`, all episodes of that version count
    num_episodes: int = 0
    gated: bool = False  # a gate decided at which steps the expert was asked
    uids: tuple[str, ...] = ()  # episodes that were in the store before, and count as this round's


def uids_of(entry: Collected) -> list[str]:
    """Return the uids of the episodes that a round brought, in a run that collects."""
    collected = episode_uids(entry.stream, entry.round, entry.num_episodes) if entry.stream is not None else []
    return [*entry.uids, *collected]


def demonstrations(snapshot: Snapshot) -> Snapshot:
    """Return the episodes that have labels and in which no learned policy acted."""
    episodes = snapshot.episodes
    return snapshot.select(np.flatnonzero((episodes.num_labelled > 0) & (episodes.policy_version < 0)))


def as_it_is(store: Store, selection: SelectionConfig, most: int | None, round_index: int = 0) -> Collected:
    """Return the episodes of a run that collects no demonstrations, pinned to the store's current version.

    Args:
        store: the run's store.
        selection: `data.select`.
        most: `data.episodes`: how many demonstrations to take; None: all episodes of the store.
        round_index: the round that first reads them.

    Raises:
        InputError: the store has fewer demonstrations than `most`.
    """
    snapshot = store.snapshot()
    if most is None:
        return Collected(round=round_index, snapshot=snapshot.version)
    uids = selection.resolve(demonstrations(snapshot)).episodes.uid[:most].tolist()
    if len(uids) < most:
        taken = "" if selection.is_everything else f" that data.select takes ({selection.describe()})"
        raise InputError(
            f"{store.path}: data.episodes={most}, but the store has {len(uids)} demonstrations{taken}: set "
            f"data.episodes={len(uids) or 'null'}, or expert.kind to collect the rest"
        )
    return Collected(round=round_index, snapshot=snapshot.version, uids=tuple(uids))


def given_demonstrations(snapshot: Snapshot, selection: SelectionConfig, most: int) -> tuple[str, ...]:
    """Return the uids of the first `most` demonstrations that the filters of `selection` take and that no run has collected.

    Args:
        snapshot: of the store.
        selection: `data.select`; its `top_percent` and `episodes` choose among a run's demonstrations, and aren't used here.
        most: how many are wanted.
    """
    episodes = demonstrations(snapshot).episodes
    uids: list[str] = episodes.uid[selection.mask(episodes)].tolist()
    return tuple(itertools.islice((uid for uid in uids if not is_collected(uid)), most))


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
        is_whole = part.stream is None and not part.uids
        wanted.update(store.snapshot(part.snapshot).episodes.uid.tolist() if is_whole else uids_of(part))
    found = np.flatnonzero(np.isin(snapshot.episodes.uid, list(wanted)))
    if len(found) < len(wanted):
        raise RunError(
            f"{store.path}: {len(wanted) - len(found)} of the {len(wanted)} episodes that this run uses are not in "
            f"version {snapshot.version}: restore the store, or start a new run"
        )
    return snapshot.select(found)


def asked(data: Snapshot, collected: Sequence[Collected]) -> int:
    """Return about how many steps an expert was asked for the episodes that a run has collected, and no other has given it.

    Args:
        data: what `select` returned for `collected`.
        collected: one entry a round that collected.
    """
    row = {uid: i for i, uid in enumerate(data.episodes.uid.tolist())}
    total = 0
    for part in collected:
        if part.stream is not None:
            rows = [row[uid] for uid in episode_uids(part.stream, part.round, part.num_episodes)]
            total += int((data.episodes.num_labelled if part.gated else data.episodes.length)[rows].sum())
    return total


def spent(parts: Sequence[Snapshot], collected: Sequence[Collected] = ()) -> Spent:
    """Return what the episodes of a run have cost; an episode of several parts counts once.

    Args:
        parts: the episodes; for a run that collects, what `select` returned for `collected`.
        collected: one entry a round that collected. The stored demonstrations that it was given have cost others.
    """
    given = [uid for entry in collected if entry.stream is not None for uid in entry.uids]
    found = [part.episodes for part in distinct(parts)]
    steps, labels = _steps_and_labels(found)
    given_steps, given_labels = _steps_and_labels([index.take(np.flatnonzero(np.isin(index.uid, given))) for index in found])
    return Spent(
        demonstrations=sum(int((index.policy_version < 0).sum()) for index in found),  # no learned policy acted
        env_steps=steps,
        expert_labels=labels,
        unlabelled_steps=steps - labels,
        given_env_steps=given_steps,
        given_expert_labels=given_labels,
    )


def _steps_and_labels(found: Sequence[EpisodeIndex]) -> tuple[int, int]:
    return sum(int(index.length.sum()) for index in found), sum(int(index.num_labelled.sum()) for index in found)

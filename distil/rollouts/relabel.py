"""Labels for stored episodes: for unlabelled ones, and for the steps that an expert failed to label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from distil.cluster import asked_cluster, cluster_cores, ensure_ray
from distil.errors import InputError
from distil.experts.base import Expert
from distil.rollouts.config import NumWorkers
from distil.rollouts.relabel_pool import label_here, label_where_it_pays, label_with_actors, labellers
from distil.rollouts.relabel_worker import LabelSetup, ShardReport, ShardTask
from distil.store.backend import backend
from distil.store.relabel import is_rewritten, publish_rewritten, rewritten_from
from distil.store.shard import ShardEntry
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.types import Progress, say, silent


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """The result of labelling a store."""

    version: int  # the newest one afterwards
    num_episodes: int  # that the expert was asked about
    num_labels: int  # that it gave
    num_unlabelled: int  # steps of these episodes that still have no label


def label_store(
    store: Store,
    expert: Expert,
    *,
    key: str,
    uids: Collection[str] | None = None,
    again: bool = False,
    num_workers: NumWorkers = 0,
    address: str | None = None,
    progress: Progress = silent,
) -> LabelReport:
    """Ask the expert about steps of stored episodes, and publish its labels in one new version of the store.

    Each shard is rewritten as soon as it is done, under a name that depends on its content and `key`: if a call is killed, the
    same call finds these shards and does not ask again. On an error or interrupt, the answers so far are published.
    Without new labels there is no new version. Steps for which the expert returns no valid action stay unlabelled.

    Args:
        store: its newest version is labelled.
        expert: gives the labels; a stateful one must be new, and gets one slot.
        key: the expert's identity; equal for experts that give the same answers.
        uids: episodes to label; None: all.
        again: ask about all steps of the episodes and replace their labels; otherwise about steps without a label.
        num_workers: Ray actors, with one core and one shard in memory each; 0: this process; auto: as in
            `rollouts.num_workers`.
        address: of a running Ray cluster; None: RAY_ADDRESS, otherwise one is started here.
        progress: called as episodes are done.

    Raises:
        InputError: the expert reads the simulator, or can't be sent to the workers; an episode is not in the store.
        RunError: the expert raised (the message names it and the episode); a shard is damaged; actors kept dying on the same
            shard; the disk can't be written; or another process labelled the same episodes at the same time.
    """
    if expert.needs_env:
        raise InputError(
            f"expert {expert.name}: reads the simulator's state, which is not stored; label while collecting "
            "(algorithm.kind=dagger), or use an expert that needs observations only"
        )
    snapshot = store.snapshot()
    tasks = _tasks(snapshot, _chosen(snapshot, uids, again), again, key)
    work = _Work(store, tasks, again, progress)
    setup = LabelSetup(path=str(store.path.resolve()), spec=store.spec, expert=expert)
    try:
        _label(setup, tasks, work, num_workers, address, progress)
    except BaseException:
        work.publish(expert)
        raise
    return work.report(snapshot.version if not work.rewritten else work.publish(expert))


def _label(
    setup: LabelSetup, tasks: Sequence[ShardTask], work: _Work, num_workers: NumWorkers, address: str | None, progress: Progress
) -> None:
    if num_workers == "auto" and asked_cluster(address) is None:
        label_where_it_pays(setup, tasks, work.take, work.tell, partial(say, progress))
    elif num_workers == 0 or not tasks:
        label_here(setup, tasks, work.take, work.tell)
    else:
        say(progress, "label: starting Ray actors")
        pool = labellers(setup, len(tasks), address)
        pool.num = min(pool.num, max(1, cluster_cores(ensure_ray(address, 1))) if num_workers == "auto" else num_workers)
        label_with_actors(pool, tasks, work.take)


def _chosen(snapshot: Snapshot, uids: Collection[str] | None, again: bool) -> NDArray[np.int64]:
    """Return the positions of the episodes to label."""
    episodes = snapshot.episodes
    keep = np.ones(len(episodes), np.bool_) if again else episodes.num_labelled < episodes.length
    if uids is not None:
        absent = set(uids) - set(episodes.uid.tolist())
        if absent:
            raise InputError(f"{snapshot.path}: no episode {min(absent)} in version {snapshot.version}; check the uids")
        keep &= np.isin(episodes.uid, list(uids))
    return np.flatnonzero(keep)


def _tasks(snapshot: Snapshot, chosen: NDArray[np.int64], again: bool, key: str) -> list[ShardTask]:
    """Return a task for each shard that has some of the chosen episodes."""
    by_shard: dict[int, list[str]] = {}
    for shard, uid in zip(snapshot.episodes.shard[chosen].tolist(), snapshot.episodes.uid[chosen].tolist(), strict=True):
        by_shard.setdefault(shard, []).append(uid)
    items = [item for item in backend(snapshot.path).list("data") if is_rewritten(item.key)] if by_shard else []
    tasks = []
    for shard, uids in sorted(by_shard.items()):
        entry = snapshot.entries[shard]
        asked = hashlib.sha256(json.dumps([key, again, sorted(uids)]).encode()).hexdigest()
        found = rewritten_from(entry, asked, items)
        tasks.append(ShardTask(entry=entry, uids=frozenset(uids), again=again, key=asked, items=found))
    return tasks


class _Work:
    """The results so far."""

    def __init__(self, store: Store, tasks: list[ShardTask], again: bool, progress: Progress) -> None:
        self.rewritten: dict[ShardEntry, ShardEntry] = {}
        self._store, self._again, self._progress = store, again, progress
        self._total, self._num_done, self._num_told = sum(len(task.uids) for task in tasks), 0, 0
        self._num_labels, self._num_unlabelled, self._labels_told = 0, 0, 0
        if tasks:
            progress("label", 0, self._total)

    def tell(self, num_labels: int) -> None:
        """Report the progress of an episode whose shard is not done yet."""
        self._num_told, self._labels_told = self._num_told + 1, self._labels_told + num_labels
        self._progress("label", self._num_told, self._total, labels=self._labels_told)

    def take(self, task: ShardTask, report: ShardReport) -> None:
        """Note a shard; one that was not finished does not count as progress."""
        if report.footer is not None:
            self._store.shards.tell(report.entry, report.footer)
            self.rewritten[task.entry] = report.entry
        before, after = (self._facts(entry, task) for entry in (task.entry, report.entry))
        self._num_labels += after[0] - (0 if self._again else before[0])
        self._num_unlabelled += after[1] - after[0]
        if report.error or report.is_stopped:
            return
        self._num_done += len(task.uids)
        if self._num_told < self._num_done:
            self._num_told, self._labels_told = self._num_done, self._num_labels
            self._progress("label", self._num_told, self._total, labels=self._labels_told)

    def publish(self, expert: Expert) -> int:
        """Publish the rewritten shards and return the version."""
        what = f"{self._num_labels} labels by {expert.name}"
        return publish_rewritten(self._store, self.rewritten, " ".join(what.split()))

    def report(self, version: int) -> LabelReport:
        """Return the report of finished work."""
        return LabelReport(
            version=version, num_episodes=self._total, num_labels=self._num_labels, num_unlabelled=self._num_unlabelled
        )

    def _facts(self, entry: ShardEntry, task: ShardTask) -> tuple[int, int]:
        """Return the labels and the steps of the task's episodes in a shard."""
        index = self._store.index(entry).select(["uid", "num_labelled", "length"]).to_pylist()
        rows = [row for row in index if row["uid"] in task.uids]
        return sum(row["num_labelled"] for row in rows), sum(row["length"] for row in rows)

"""Compaction: small shards are merged into large ones, in a new version that has the same episodes."""

from __future__ import annotations

from dataclasses import dataclass

from distil.errors import RunError
from distil.store.backend import backend
from distil.store.manifest import Manifest
from distil.store.merge import merge_shards
from distil.store.shard import ShardEntry
from distil.store.store import Store

TARGET_BYTES = 128 << 20


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """What was merged. The old shards stay until their versions are dropped and `gc` has come by."""

    version: int  # the newest one afterwards
    num_before: int  # shards
    num_after: int


def compact(store: Store, *, target_bytes: int = TARGET_BYTES) -> CompactReport:
    """Merge shards smaller than half of `target_bytes` into ones of about that size, as a new version.

    Readers of older versions are not disturbed, and writers may commit meanwhile. The version is the same content in the
    same order: its digest doesn't change. At most one merged shard is held in memory at a time.

    Raises:
        RunError: a shard is damaged, or another compaction was first.
    """
    head = store.manifest()
    groups = _groups(store, head, target_bytes)
    replaced = {
        entry: merged for group in groups for merged in [merge_shards(store.shards, group, "compact")] for entry in group
    }
    while replaced:
        kept = [entry for entry in head.entries if entry not in replaced]
        if len(kept) + len(replaced) != len(head.entries):
            for merged in set(replaced.values()):
                backend(store.path).delete(merged.path)
            raise RunError(f"{store.path}: another compaction was first; nothing was changed, run this one again if needed")
        entries = (*kept, *dict.fromkeys(replaced.values()))
        if (snapshot := store.publish(head.listing(entries, "compacted"))) is not None:
            return CompactReport(version=snapshot.version, num_before=len(head.entries), num_after=len(entries))
        head = store.manifest()
    return CompactReport(version=head.version, num_before=len(head.entries), num_after=len(head.entries))


def _groups(store: Store, head: Manifest, target_bytes: int) -> list[list[ShardEntry]]:
    """Return which shards to merge: neighbours in the order of their first episodes."""
    small = [entry for entry in head.entries if entry.num_bytes < target_bytes // 2]
    small.sort(key=lambda entry: min(store.index(entry).column("uid").to_pylist()))
    groups = [list[ShardEntry]()]
    for entry in small:
        if groups[-1] and sum(e.num_bytes for e in groups[-1]) + entry.num_bytes > target_bytes:
            groups.append([])
        groups[-1].append(entry)
    return [group for group in groups if len(group) > 1]

"""Compaction: small shards are merged into large ones, in a new version that has the same episodes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distil.errors import RunError
from distil.store.backend import backend
from distil.store.manifest import Manifest
from distil.store.schema import INDEX_SCHEMA
from distil.store.shard import Shard, ShardEntry, open_shard, seal_shard
from distil.store.verify import digest_of
from distil.types import Array

if TYPE_CHECKING:
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
    replaced = {entry: merged for group in groups for merged in [_merge(store, group)] for entry in group}
    while replaced:
        kept = [entry for entry in head.entries if entry not in replaced]
        if len(kept) + len(replaced) != len(head.entries):
            for merged in set(replaced.values()):
                backend(store.path).delete(merged.path)
            raise RunError(f"{store.path}: another compaction was first; nothing was changed, run this one again if needed")
        entries = (*kept, *dict.fromkeys(replaced.values()))
        new = replace(head, version=head.version + 1, entries=entries, message="compacted")
        if (snapshot := store.publish(new)) is not None:
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


def _merge(store: Store, group: Sequence[ShardEntry]) -> ShardEntry:
    """Write the episodes of some shards, sorted by uid, as one shard that isn't committed yet."""
    for entry in group:
        if digest_of(store.path, entry) != entry.digest:  # else the new shard's digest would vouch for the damage
            raise RunError(f"{store.path / entry.path}: altered; restore it from a copy, then compact again")
    indices = [store.index(entry) for entry in group]
    index = pa.Table.from_batches(indices, INDEX_SCHEMA)
    order = np.argsort(np.array(index.column("uid").to_pylist(), dtype=np.str_), kind="stable")
    shard = np.repeat(np.arange(len(group)), [batch.num_rows for batch in indices])[order]
    index = index.take(order)
    rows = index.column("length").to_numpy() + 1
    first = index.column("first_row").to_numpy()
    starts = pa.array(np.cumsum(rows) - rows)
    index = index.set_column(INDEX_SCHEMA.get_field_index("first_row"), INDEX_SCHEMA.field("first_row"), starts)
    parts = _parts(shard, first, rows)
    with ExitStack() as stack:
        shards = [stack.enter_context(open_shard(store.path, entry, store.spec)) for entry in group]
        columns = {name: _gather(shards, name, parts) for name in store.spec.schema().names}
        columns["episode"] = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
        batch = index.combine_chunks().to_batches()[0]
        return seal_shard(store.path, store.spec, columns, batch, f"compact-{secrets.token_hex(8)}")


def _parts(shard: NDArray[np.int64], first: NDArray[np.int64], rows: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return (shard, first row, number of rows) of the blocks to copy; those that follow one another are one."""
    joins = (shard[1:] == shard[:-1]) & (first[1:] == first[:-1] + rows[:-1])
    starts = np.flatnonzero(np.concatenate([[True], ~joins]))
    return list(zip(shard[starts].tolist(), first[starts].tolist(), np.add.reduceat(rows, starts).tolist(), strict=True))


def _gather(shards: Sequence[Shard], name: str, parts: Sequence[tuple[int, int, int]]) -> pa.Array | Array:
    arrays = [shard.arrow(name) for shard in shards]
    kind = arrays[0].type
    if isinstance(kind, pa.BaseExtensionType):
        merged = pa.concat_arrays([arrays[number].storage.slice(first, num) for number, first, num in parts])
        return pa.ExtensionArray.from_storage(kind, merged)
    return pa.concat_arrays([arrays[number].slice(first, num) for number, first, num in parts])

"""Copying episodes out of sealed shards into a new one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distil.errors import RunError
from distil.store.schema import INDEX_SCHEMA
from distil.store.shard import Shard, ShardEntry, open_shard, seal_shard
from distil.store.shards import Shards
from distil.store.verify import digest_of
from distil.types import Array


def merge_shards(
    shards: Shards, group: Sequence[ShardEntry], stem: str, keep: Sequence[NDArray[np.bool_]] | None = None
) -> ShardEntry:
    """Write the episodes of some shards, sorted by uid, as one shard that isn't committed yet.

    Args:
        shards: those of the store.
        group: which of them.
        stem: what the new file's name begins with.
        keep: for each shard, which of its episodes to take, [num_episodes], at least one in all; None: all.

    Raises:
        RunError: a shard is altered or can't be read, or the disk refuses.
    """
    for entry in group:
        if digest_of(shards.root, entry) != entry.digest:  # else the new shard's digest would vouch for the damage
            raise RunError(f"{shards.root / entry.path}: altered; restore it from a copy, then try again")
    indices = [shards.index(entry) for entry in group]
    if keep is not None:
        indices = [batch.filter(pa.array(mask)) for batch, mask in zip(indices, keep, strict=True)]
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
        opened = [stack.enter_context(open_shard(shards.root, entry, shards.spec)) for entry in group]
        columns = {name: _gather(opened, name, parts) for name in shards.spec.schema().names}
        columns["episode"] = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
        batch = index.combine_chunks().to_batches()[0]
        return seal_shard(shards.root, shards.spec, columns, batch, f"{stem}-{secrets.token_hex(8)}")


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

"""The index of episodes in numpy columns: everything about each episode except its steps, in canonical order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distil.store.schema import INDEX_SCHEMA
from distil.types import Array


@dataclass(frozen=True, kw_only=True)
class EpisodeIndex:
    """N episodes, sorted by uid: whatever the shards' layout and the order of their commits, the order is the same."""

    uid: NDArray[np.str_]  # [N]
    length: NDArray[np.int64]  # [N] actions
    seed: NDArray[np.int64]  # [N]
    round: NDArray[np.int64]  # [N]
    total_reward: NDArray[np.float64]  # [N] undiscounted return
    terminated: NDArray[np.uint8]  # [N]
    truncated: NDArray[np.uint8]  # [N]
    policy_version: NDArray[np.int64]  # [N] -1: no learned policy acted
    num_labelled: NDArray[np.int64]  # [N] transitions with an expert's label
    num_acted_by_expert: NDArray[np.int64]  # [N]
    source: NDArray[np.str_]  # [N] who made it
    success: NDArray[np.int8]  # [N] 1 yes, 0 no, -1: the environment doesn't say
    digest: Array  # [N] 16 raw bytes: xxh3-128 of the steps
    shard: NDArray[np.int64]  # [N] position in the snapshot's entries
    first_row: NDArray[np.int64]  # [N] in the shard

    def __len__(self) -> int:
        return len(self.length)

    def take(self, indices: NDArray[np.int64]) -> EpisodeIndex:
        """Return the episodes at `indices`, in that order."""
        return EpisodeIndex(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})


def gather_index(table: pa.Table, num_episodes: Sequence[int]) -> EpisodeIndex:
    """Return the index, sorted by uid, of the shards' own ones (columns of `INDEX_SCHEMA`), so many rows a shard."""
    columns: dict[str, Array] = {}
    for name in INDEX_SCHEMA.names:
        column = table.column(name)
        if name in ("uid", "source"):
            columns[name] = np.array(column.to_pylist(), dtype=np.str_)
        elif name == "digest":
            columns[name] = np.frombuffer(b"".join(column.to_pylist()), dtype="V16")
        else:
            columns[name] = column.to_numpy()
    columns["shard"] = np.repeat(np.arange(len(num_episodes), dtype=np.int64), np.array(num_episodes, np.int64))
    index = EpisodeIndex(**columns)
    if np.all(index.uid[:-1] <= index.uid[1:]):
        return index
    return index.take(np.argsort(index.uid, kind="stable"))

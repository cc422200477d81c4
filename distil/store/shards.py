"""The sealed shards of a store, and the indices of their episodes, each read once: a shard never changes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from distil.errors import RunError
from distil.store.entry import ShardEntry
from distil.store.footer import read_index
from distil.store.index import EpisodeIndex, gather_index
from distil.store.location import Location
from distil.store.schema import StoreSpec

_NUM_REQUESTS = 16  # at a time, to an object store


class ClashError(RunError):
    """Two different episodes have the same uid."""


class Shards:
    """The shards below `root`, whose episodes look as `spec` says."""

    def __init__(self, root: Location, spec: StoreSpec) -> None:
        self.root, self.spec = root, spec
        self._indices: dict[ShardEntry, pa.RecordBatch] = {}

    def index(self, entry: ShardEntry) -> pa.RecordBatch:
        """Return the index of a shard's episodes (columns of `INDEX_SCHEMA`), committed or not."""
        if entry not in self._indices:
            self._indices[entry] = read_index(self.root, entry)
        return self._indices[entry]

    def gather(self, entries: Sequence[ShardEntry]) -> EpisodeIndex:
        """Return the index of the episodes of all `entries`; ClashError if two of them have the same uid."""
        unknown = [entry for entry in entries if entry not in self._indices]
        with ThreadPoolExecutor(1 if isinstance(self.root, Path) else _NUM_REQUESTS) as pool:
            run = map if isinstance(self.root, Path) else pool.map
            self._indices.update(zip(unknown, run(partial(read_index, self.root), unknown), strict=True))
        episodes = gather_index([self._indices[entry] for entry in entries])
        twice = np.flatnonzero(episodes.uid[1:] == episodes.uid[:-1])
        if twice.size:
            uid = episodes.uid[twice[0]]
            raise ClashError(f"{self.root}: episode {uid} would be in the store twice; give new episodes new uids")
        return episodes

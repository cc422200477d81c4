"""The sealed shards of a store, and the indices of their episodes, each read once or never: a shard never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from distil.errors import RunError
from distil.store.entry import ShardEntry
from distil.store.footer import Footer, read_index
from distil.store.index import EpisodeIndex, gather_index
from distil.store.location import Location
from distil.store.manifest import Manifest
from distil.store.schema import INDEX_SCHEMA, StoreSpec

_NUM_REQUESTS = 16  # at a time, to an object store
Item = TypeVar("Item")
Result = TypeVar("Result")


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

    def tell(self, entry: ShardEntry, footer: Footer) -> None:
        """Take a shard's index from its footer, so that it isn't read; RunError if the footer is another one's, or altered."""
        if entry not in self._indices:
            self._indices[entry] = footer.index(self.root, entry)

    def load(self, entries: Iterable[ShardEntry]) -> None:
        """Read the indices of those `entries` whose index isn't known; RunError if one can't be read."""
        unknown = [entry for entry in dict.fromkeys(entries) if entry not in self._indices]
        self._indices.update(zip(unknown, self.each(partial(read_index, self.root), unknown), strict=True))

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return what `work` gives for each item; several at a time where each waits for the answer of an object store."""
        if isinstance(self.root, Path) or len(items) < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(min(_NUM_REQUESTS, len(items))) as pool:
            return list(pool.map(work, items))

    def table(self, manifest: Manifest) -> pa.Table:
        """Return the index of a version's episodes, shard by shard (columns of `INDEX_SCHEMA`)."""
        self.load(chain(*(segment.entries for segment in manifest.segments if segment.index is None), manifest.tail))
        parts = list[pa.RecordBatch]()
        for segment in manifest.segments:
            parts += [segment.index] if segment.index is not None else map(self.index, segment.entries)
        return pa.Table.from_batches([*parts, *map(self.index, manifest.tail)], INDEX_SCHEMA)

    def joined(self, manifest: Manifest) -> pa.RecordBatch:
        """Return `table` as one batch; the version has episodes."""
        (batch,) = self.table(manifest).combine_chunks().to_batches()
        return batch

    def gather(self, manifest: Manifest) -> EpisodeIndex:
        """Return the index of a version's episodes, sorted by uid; ClashError if two of them have the same uid."""
        episodes = gather_index(self.table(manifest), manifest.column("num_episodes"))
        twice = np.flatnonzero(episodes.uid[1:] == episodes.uid[:-1])
        if twice.size:
            uid = episodes.uid[twice[0]]
            raise ClashError(f"{self.root}: episode {uid} would be in the store twice; give new episodes new uids")
        return episodes

"""Batches of whole episodes, padded to the longest of each batch: for policies that read sequences from their beginning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from distil.errors import InputError
from distil.seeding import generator
from distil.store.order import SampleSource, Stream
from distil.store.rows import RowReader, Runs
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.types import Array, Batch

_BLOCK_BYTES = 1 << 26


class EpisodeSampler(SampleSource):
    """Whole episodes with labels: observations [B, L+1, ...], actions [B, L, ...], L being the batch's longest episode.

    A shorter one repeats its final observation and its last label; `is_pad` [B, L] is true there, and where no label is.
    Episodes are read from the shards when a batch is made, so no more than a batch is ever in memory. A sample's weight is its
    episode's; interventions have none of their own here.
    """

    rows_are_alike = False  # padded to the longest of the batch

    tier = 2

    def __init__(self, snapshot: Snapshot, *, float_dtype: str = "float32") -> None:
        """Take the episodes of `snapshot` that have labels; InputError if there are none."""
        self._float_dtype = np.dtype(float_dtype)
        keep = np.flatnonzero(snapshot.episodes.num_labelled)
        if not len(keep):
            raise InputError(
                f"{snapshot.path}: no labelled transition among {snapshot.num_episodes} episodes; collect demonstrations"
            )
        self._snapshot = snapshot.select(keep)
        self.is_weighted = snapshot.weights is not None
        if self._snapshot.weights is not None and not self._snapshot.weights.episode.any():
            raise InputError(f"{snapshot.path}: all episodes with labels weigh 0; give one of them a weight above 0")
        self._reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)

    @property
    def num_samples(self) -> int:
        """Number of episodes."""
        return self._snapshot.num_episodes

    @property
    def spec(self) -> StoreSpec:
        """The spaces of the samples."""
        return self._snapshot.spec

    def transitions(self, names: Sequence[str], num_rows: int) -> Iterator[dict[str, Array]]:
        """Yield the labelled transitions, as in `SampleSource`; a block has whole episodes, and one of them at least."""
        ends, begin = np.cumsum(self._snapshot.episodes.length), 0
        num_rows = min(num_rows, _BLOCK_BYTES // self.spec.row_bytes)  # all columns are read
        while begin < self.num_samples:
            before = ends[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + num_rows, side="right")))
            batch = self.read(np.arange(begin, end))
            keep = ~batch.is_pad
            values = {name: batch.observations[name][:, :-1] for name in names if name != "action"} | {"action": batch.actions}
            yield {name: values[name][keep] for name in names}
            begin = end

    def stream(self, seed: int) -> Stream:
        """Return the stream whose order `seed` gives."""
        return _Shuffled(self, seed)

    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every episode once, in the snapshot's order; the last batch may be smaller."""
        for start in range(0, self.num_samples, batch_size):
            yield self.read(np.arange(start, min(start + batch_size, self.num_samples)))

    def read(self, indices: NDArray[np.int64]) -> Batch:
        """Return the episodes at `indices` as a batch."""
        snapshot, episodes = self._snapshot, self._snapshot.episodes.take(indices)
        weights = None if snapshot.weights is None else snapshot.weights.episode[indices]
        length, num = episodes.length, len(indices)
        longest = int(length.max())
        row = np.arange(num) * (longest + 1)
        out = {}
        for column in snapshot.spec.columns():
            if column.name in (*(leaf.name for leaf in snapshot.spec.observation.leaves), "expert_action", "labelled"):
                dtype = self._float_dtype if np.issubdtype(column.dtype, np.floating) else column.dtype
                out[column.name] = np.zeros((num * (longest + 1), *column.shape), dtype)
        runs = Runs(shard=episodes.shard, source=episodes.first_row, target=row, count=length + 1)
        self._reader.copy(runs, out)
        step = np.arange(longest + 1)
        for name, values in out.items():
            last = length if name in {leaf.name for leaf in snapshot.spec.observation.leaves} else length - 1
            if name != "labelled":
                beyond = step > last[:, None]
                values[np.flatnonzero(beyond)] = np.repeat(values[row + last], beyond.sum(1), axis=0)
        padded = {name: values.reshape(num, longest + 1, *values.shape[1:]) for name, values in out.items()}
        actions, labelled = padded.pop("expert_action")[:, :-1], padded.pop("labelled")[:, :-1]
        return Batch(observations=padded, actions=np.ascontiguousarray(actions), is_pad=labelled == 0, weights=weights)


class _Shuffled:
    def __init__(self, source: EpisodeSampler, seed: int) -> None:
        self._source = source
        self._order = lru_cache(maxsize=2)(lambda epoch: generator(seed, "epoch", epoch).permutation(source.num_samples))

    def take(self, position: int, num: int) -> Batch:
        parts = []
        while num:
            epoch, offset = divmod(position, self._source.num_samples)
            parts.append(self._order(epoch)[offset : offset + num])
            position, num = position + len(parts[-1]), num - len(parts[-1])
        return self._source.read(np.concatenate(parts))

    def close(self) -> None:
        self._order.cache_clear()

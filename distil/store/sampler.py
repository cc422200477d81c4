"""Tier 1: samples from memory, shuffled over the whole snapshot in an order that is a function of (content, seed, cursor)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from distil.errors import InputError
from distil.seeding import generator
from distil.store.order import Cursor, SampleSource, Stream
from distil.store.rows import RowReader
from distil.store.schema import StoreSpec
from distil.store.table import Gather, Table
from distil.store.weights import WeightedEpisodes, window_weights
from distil.store.windows import LABEL, Layout, Pieces, WindowOptions, Windows, place
from distil.types import Array, Batch

__all__ = ["Cursor", "Sampler"]


class Sampler(SampleSource):
    """Windows of a snapshot's labelled transitions, held in memory. Reads the columns once, when made."""

    tier = 1

    def __init__(self, snapshot: WeightedEpisodes, **windows: Unpack[WindowOptions]) -> None:
        """Read what samples of `snapshot` need into memory of this process; a `Reader` shares and keeps it.

        Args:
            snapshot: what to sample from.
            windows: the fields of `Windows`: obs_horizon, chunk, n_step, goal, every, float_dtype.

        Raises:
            InputError: no transition is labelled, or a size is below 1.
            RunError: a shard is damaged.
        """
        layout = Layout(snapshot.spec, Windows(**windows))
        pieces = whole_episodes(snapshot, layout.windows)
        places = place(pieces, layout.windows)
        table = Table.allocate(layout, places.end)
        reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)
        table.fill(reader, pieces, places)
        weights = window_weights(snapshot, pieces, np.arange(len(pieces)), reader)
        self._init(table, places.first, pieces, weights)

    @staticmethod
    def over(table: Table, first: NDArray[np.int64], pieces: Pieces, weights: Array | None = None) -> Sampler:
        """Return a sampler of pieces that a table holds already: those whose first rows are `first`.

        Weights, one a transition of the pieces, are the sampler's own: a table is shared, and its rows too, by equal episodes.
        """
        sampler = Sampler.__new__(Sampler)
        sampler._init(table, first, pieces, weights)
        return sampler

    def _init(self, table: Table, first: NDArray[np.int64], pieces: Pieces, weights: Array | None) -> None:
        self._table = table
        self._samples, self._weights = table.samples(first, pieces.num, pieces.full, weights)
        self.is_weighted = weights is not None
        self._gather = table.gather()

    @property
    def num_samples(self) -> int:
        """Number of windows: one starts at each labelled transition."""
        return len(self._samples)

    @property
    def spec(self) -> StoreSpec:
        """The spaces of the samples."""
        return self._table.layout.spec

    def transitions(self, names: Sequence[str], num_rows: int) -> Iterator[dict[str, Array]]:
        """Yield the transitions that start samples, in the snapshot's order, as in `SampleSource`."""
        for start in range(0, self.num_samples, num_rows):
            rows = self._samples[start : start + num_rows]
            yield {name: self._table.rows(LABEL if name == "action" else name, rows) for name in names}

    def stream(self, seed: int) -> Stream:
        """Return the stream whose order `seed` gives."""
        return _Shuffled(self._samples, self._weights, self._gather, seed)

    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in the snapshot's order; the last batch may be smaller."""
        for start in range(0, self.num_samples, batch_size):
            end = start + batch_size
            yield self._gather(self._samples[start:end], copied(self._weights, start, end))


class _Shuffled:
    """A stream of permutations of all samples."""

    def __init__(self, samples: NDArray[np.int64], weights: Array | None, gather: Gather, seed: int) -> None:
        self._num, self._gather = len(samples), gather
        self._order = lru_cache(maxsize=2)(lambda epoch: permuted(generator(seed, "epoch", epoch), samples, weights))

    def take(self, position: int, num: int) -> Batch:
        epoch, offset = divmod(position, self._num)
        samples, weights = self._order(epoch)
        end = offset + num
        if end <= self._num:
            return self._gather(samples[offset:end], copied(weights, offset, end))
        rows, values = [], []
        while num:
            samples, weights = self._order(epoch)
            rows.append(samples[offset : offset + num])
            if weights is not None:
                values.append(weights[offset : offset + num])
            num -= len(rows[-1])
            epoch, offset = epoch + 1, 0
        return self._gather(np.concatenate(rows), np.concatenate(values) if values else None)

    def close(self) -> None:
        self._order.cache_clear()


def permuted(
    generator: np.random.Generator, samples: NDArray[np.int64], weights: Array | None
) -> tuple[NDArray[np.int64], Array | None]:
    """Return samples and their weights in one new order, which doesn't depend on whether there are weights."""
    if weights is None:
        return generator.permutation(samples), None
    order = generator.permutation(len(samples))
    return samples.take(order, mode="clip"), weights.take(order, mode="clip")


def copied(weights: Array | None, begin: int, end: int) -> Array | None:
    """Return a copy of some weights, for a batch to own."""
    return None if weights is None else weights[begin:end].copy()


def whole_episodes(snapshot: WeightedEpisodes, windows: Windows) -> Pieces:
    """Return all episodes of a snapshot as pieces, in its order; InputError unless there is something to learn from."""
    episodes = snapshot.episodes
    if not episodes.num_labelled.any() and not (windows.every and len(episodes)):
        raise InputError(f"{snapshot.path}: no labelled transition among {len(episodes)} episodes; collect demonstrations")
    if snapshot.weights is not None and not snapshot.weights.episode[(episodes.num_labelled > 0) | windows.every].any():
        raise InputError(f"{snapshot.path}: all episodes with labels weigh 0; give one of them a weight above 0")
    return Pieces(
        shard=episodes.shard,
        row=episodes.first_row,
        length=episodes.length,
        begin=np.zeros_like(episodes.length),
        end=episodes.length,
        full=episodes.num_labelled == episodes.length,
    )

"""Tier 1: samples from memory, shuffled over the whole snapshot in an order that is a function of (content, seed, cursor)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from distil.errors import InputError
from distil.seeding import generator
from distil.store.order import Cursor, SampleSource, Stream
from distil.store.rows import RowReader
from distil.store.table import Table
from distil.store.windows import LABEL, Layout, Pieces, WindowOptions, Windows, place
from distil.types import Array, Batch

if TYPE_CHECKING:
    from distil.store.snapshot import Snapshot

__all__ = ["Cursor", "Sampler"]


class Sampler(SampleSource):
    """Windows of a snapshot's labelled transitions, held in memory. Reads the columns once, when made."""

    tier = 1

    def __init__(self, snapshot: Snapshot, **windows: Unpack[WindowOptions]) -> None:
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
        table.fill(RowReader(snapshot.path, snapshot.entries, snapshot.spec), pieces, places)
        self._init(table, places.first, pieces)

    @staticmethod
    def over(table: Table, first: NDArray[np.int64], pieces: Pieces) -> Sampler:
        """Return a sampler of pieces that a table holds already: those whose first rows are `first`."""
        sampler = Sampler.__new__(Sampler)
        sampler._init(table, first, pieces)
        return sampler

    def _init(self, table: Table, first: NDArray[np.int64], pieces: Pieces) -> None:
        self._table = table
        self._samples = table.samples(first, pieces.num, pieces.full)
        self._gather = table.gather()

    @property
    def num_samples(self) -> int:
        """Number of windows: one starts at each labelled transition."""
        return len(self._samples)

    @property
    def columns(self) -> Mapping[str, Array]:
        """Leaf name and "action" -> [num_samples, ...]: the transitions that start samples, to compute statistics from.

        Each array is a contiguous copy, made when it is asked for.
        """
        return Copies(self._table, self._samples)

    def stream(self, seed: int) -> Stream:
        """Return the stream whose order `seed` gives."""
        return _Shuffled(self._samples, self._gather, seed)

    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in the snapshot's order; the last batch may be smaller."""
        for start in range(0, self.num_samples, batch_size):
            yield self._gather(self._samples[start : start + batch_size])


class _Shuffled:
    """A stream of permutations of all samples."""

    def __init__(self, samples: NDArray[np.int64], gather: Any, seed: int) -> None:
        self._num, self._gather = len(samples), gather
        self._order = lru_cache(maxsize=2)(lambda epoch: generator(seed, "epoch", epoch).permutation(samples))

    def take(self, position: int, num: int) -> Batch:
        epoch, offset = divmod(position, self._num)
        if offset + num <= self._num:
            return self._gather(self._order(epoch)[offset : offset + num])  # type: ignore[no-any-return]
        parts = []
        while num:
            parts.append(self._order(epoch)[offset : offset + num])
            num -= len(parts[-1])
            epoch, offset = epoch + 1, 0
        return self._gather(np.concatenate(parts))  # type: ignore[no-any-return]

    def close(self) -> None:
        self._order.cache_clear()


class Copies(Mapping[str, Array]):
    """Rows of a table's columns, copied out on access."""

    def __init__(self, table: Table, samples: NDArray[np.int64]) -> None:
        """Take rows `samples` of `table`."""
        self._table, self._samples = table, samples
        self._sources = {field.name: field.name for field in table.layout.observations} | {"action": LABEL}

    def __getitem__(self, name: str) -> Array:
        return self._table.rows(self._sources[name], self._samples)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def whole_episodes(snapshot: Snapshot, windows: Windows) -> Pieces:
    """Return all episodes of a snapshot as pieces, in its order; InputError unless there is something to sample."""
    episodes = snapshot.episodes
    if not episodes.num_labelled.any() and not (windows.every and len(episodes)):
        raise InputError(
            f"{snapshot.path}: no labelled transition among {snapshot.num_episodes} episodes; collect demonstrations"
        )
    return Pieces(
        shard=episodes.shard,
        row=episodes.first_row,
        length=episodes.length,
        begin=np.zeros_like(episodes.length),
        end=episodes.length,
        full=episodes.num_labelled == episodes.length,
    )

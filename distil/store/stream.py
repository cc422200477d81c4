"""Tier 2: samples of a snapshot that is larger than its memory, streamed in groups of blocks (see `distil.store.blocks`).

A group is read into memory and its samples are permuted. While they are used, the next group is read in the background:

    memory A   | read group 0 | use group 0  | read group 2 | use group 2  | ...
    memory B                  | read group 1 | use group 1  | read group 3 | ...

So the order is a function of (content, budget, seed, cursor), and every sample comes once an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from distil.seeding import generator
from distil.store.blocks import Blocks, cut_blocks, piece
from distil.store.order import SampleSource, Stream, parts
from distil.store.rows import RowReader, Runs
from distil.store.sampler import copied, permuted
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.store.table import Gather, Table
from distil.store.weights import window_weights
from distil.store.windows import LABEL, LABELLED, Layout, WindowOptions, Windows, place
from distil.types import Array, Batch


class StreamSampler(SampleSource):
    """Windows of a snapshot's labelled transitions, streamed through `memory_budget` bytes."""

    tier = 2

    def __init__(self, snapshot: Snapshot, *, memory_budget: int, **windows: Unpack[WindowOptions]) -> None:
        """Look at the index of episodes, and at the labels of episodes that are labelled in part.

        Args:
            snapshot: what to sample from.
            memory_budget: bytes for one stream of batches and a scan; the order depends on it.
            windows: the fields of `Windows`.

        Raises:
            InputError: no transition is labelled, a size is below 1, or (`BudgetError`) the budget is too small.
            RunError: a shard is damaged.
        """
        self._snapshot = snapshot
        self.is_weighted = snapshot.weights is not None
        self._layout = Layout(snapshot.spec, Windows(**windows))
        self._blocks = cut_blocks(snapshot, self._layout, memory_budget)

    @property
    def num_samples(self) -> int:
        """Number of windows: one starts at each labelled transition."""
        return int(self._blocks.samples.sum())

    @property
    def spec(self) -> StoreSpec:
        """The spaces of the samples."""
        return self._layout.spec

    def transitions(self, names: Sequence[str], num_rows: int) -> Iterator[dict[str, Array]]:
        """Yield the transitions that start samples, as in `SampleSource`: only these columns are read, and each once."""
        num_rows = min(num_rows, self._blocks.size * self._scan_blocks)  # what the budget has for a scan
        return (columns for columns, _ in self._read(names, num_rows))

    def _read(self, names: Sequence[str], num_rows: int) -> Iterator[tuple[dict[str, Array], Array | None]]:
        """Yield the samples of `num_rows` transitions at a time, new arrays, and their weights."""
        fields, reader = [self._layout.fields[LABEL if name == "action" else name] for name in names], self.reader()
        episodes, ends = self._blocks.episodes, self._blocks.ends
        total, every = int(ends[-1]), self._layout.windows.every
        for begin in range(0, total, num_rows):
            pieces, episode = piece(begin, min(begin + num_rows, total), episodes, ends)
            num = int(pieces.num.sum())
            out = {field.name: np.empty((num, *field.value_shape), field.value_dtype) for field in fields}
            if not every and not pieces.full.all():
                out[LABELLED] = np.empty(num, np.uint8)
            target = np.cumsum(pieces.num) - pieces.num
            reader.copy(Runs(shard=pieces.shard, source=pieces.row + pieces.begin, target=target, count=pieces.num), out)
            weights = window_weights(self._snapshot, pieces, episode, reader)
            keep = out[LABELLED] != 0 if LABELLED in out else slice(None)
            columns = {name: out[field.name][keep] for name, field in zip(names, fields, strict=True)}
            yield columns, None if weights is None else weights[keep]

    def stream(self, seed: int) -> Stream:
        """Return the stream whose order `seed` gives."""
        return _Streamed(self, self._blocks, seed)

    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in the snapshot's order; the last batch may be smaller."""
        waiting: list[Batch] = []
        for batch in self._scan_transitions(batch_size) if self._layout.is_single else self._scan_windows(batch_size):
            waiting.append(batch)
            num = sum(map(len, waiting))
            if num >= batch_size:
                cut = parts(concatenate(waiting), batch_size)
                yield from islice(cut, num // batch_size)
                waiting = list(cut)
        if waiting:
            yield concatenate(waiting)

    def _scan_transitions(self, batch_size: int) -> Iterator[Batch]:
        """Yield single transitions, many batches at once: they are read to where they stay."""
        leaves = [field.name for field in self._layout.observations]
        room = self._blocks.size * self._scan_blocks
        for columns, weights in self._read([*leaves, "action"], max(room // batch_size, 1) * batch_size):
            single = {name: values[:, None] for name, values in columns.items()}
            actions = single.pop("action")
            yield Batch(observations=single, actions=actions, is_pad=np.zeros((len(actions), 1), np.bool_), weights=weights)

    def _scan_windows(self, batch_size: int) -> Iterator[Batch]:
        loader = _Loader(self, self._scan_blocks, self.reader())
        for begin in range(0, len(self._blocks), self._scan_blocks):
            loaded = loader.load(np.arange(begin, min(begin + self._scan_blocks, len(self._blocks))))
            for at in range(0, len(loaded.samples), batch_size):
                yield loaded.batch(at, min(batch_size, len(loaded.samples) - at))

    @property
    def _scan_blocks(self) -> int:
        return max(1, min(self._blocks.in_group // 8, len(self._blocks)))

    def reader(self) -> RowReader:
        """Return a new reader of the snapshot's shards."""
        return RowReader(self._snapshot.path, self._snapshot.entries, self._snapshot.spec)


class _Loader:
    """Reads groups of blocks, each into the same memory."""

    def __init__(self, source: StreamSampler, num_blocks: int, reader: RowReader) -> None:
        self._source, self._reader = source, reader
        self.table = Table.allocate(source._layout, int(source._blocks.most_rows[num_blocks - 1]))

    def load(self, chosen: NDArray[np.int64]) -> _Loaded:
        """Return the samples of blocks `chosen`, in the snapshot's order; they last until the next call."""
        layout = self._source._layout
        pieces, episode = self._source._blocks.pieces(chosen)
        places = place(pieces, layout.windows)
        for heap in self.table.heaps.values():
            heap.clear()
        self.table.fill(self._reader, pieces, places)
        weights = window_weights(self._source._snapshot, pieces, episode, self._reader)
        samples, weights = self.table.samples(places.first, pieces.num, pieces.full, weights)
        return _Loaded(samples=samples, weights=weights, gather=self.table.gather())


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """Samples in memory, and what makes batches of them."""

    samples: NDArray[np.int64]
    weights: Array | None  # [samples]
    gather: Gather

    def batch(self, begin: int, num: int) -> Batch:
        return self.gather(self.samples[begin : begin + num], copied(self.weights, begin, begin + num))

    def permuted(self, generator: np.random.Generator) -> _Loaded:
        samples, weights = permuted(generator, self.samples, self.weights)
        return _Loaded(samples=samples, weights=weights, gather=self.gather)


@dataclass(frozen=True, kw_only=True)
class _Group:
    key: tuple[int, int]  # epoch, number
    begin: int  # position of its first sample in the epoch
    loaded: _Loaded  # in the order of the stream

    @property
    def end(self) -> int:
        return self.begin + len(self.loaded.samples)


class _Streamed:
    """A stream of groups; the next one is read while this one is used."""

    def __init__(self, source: StreamSampler, blocks: Blocks, seed: int) -> None:
        self._source, self._blocks, self._seed = source, blocks, seed
        self._num_samples = source.num_samples
        reader = source.reader()  # one thread uses it
        self._loaders = [_Loader(source, min(blocks.in_group, len(blocks)), reader) for _ in range(2)]
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="distil-stream")
        self._group: _Group | None = None
        self._coming: tuple[tuple[int, int], Future[_Group]] | None = None
        self._turn = 0

    def take(self, position: int, num: int) -> Batch:
        parts = []
        while num:
            epoch, offset = divmod(position, self._num_samples)
            group = self._group
            if group is None or group.key[0] != epoch or not group.begin <= offset < group.end:
                group = self._advance(epoch, offset)
            count = min(num, group.end - offset)
            parts.append(group.loaded.batch(offset - group.begin, count))
            position, num = position + count, num - count
        return parts[0] if len(parts) == 1 else concatenate(parts)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._group = self._coming = None
        self._loaders = []

    def _advance(self, epoch: int, offset: int) -> _Group:
        """Make the group of a position the current one, and start to read the one after it."""
        _, begins = self._plan(epoch)
        number = int(np.searchsorted(begins, offset, side="right")) - 1
        key = (epoch, number)
        self._group = None
        if self._coming is None or self._coming[0] != key:
            if self._coming is not None:
                self._coming[1].exception()  # wait: it fills the memory that is taken next
            self._coming = (key, self._submit(key))
        self._group = group = self._coming[1].result()
        after = (epoch, number + 1) if number + 2 < len(begins) else (epoch + 1, 0)
        self._coming = (after, self._submit(after))
        return group

    def _submit(self, key: tuple[int, int]) -> Future[_Group]:
        self._turn ^= 1
        return self._pool.submit(self._load, key, self._loaders[self._turn])

    def _load(self, key: tuple[int, int], loader: _Loader) -> _Group:
        order, begins = self._plan(key[0])
        size = self._blocks.in_group
        loaded = loader.load(order[key[1] * size : (key[1] + 1) * size])
        shuffled = loaded.permuted(generator(self._seed, "epoch", key[0], "group", key[1]))
        return _Group(key=key, begin=int(begins[key[1]]), loaded=shuffled)

    def _plan_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the order of the blocks, and where each group's samples begin; the number of samples comes last."""
        order = generator(self._seed, "epoch", epoch).permutation(len(self._blocks))
        ends = np.cumsum(self._blocks.samples[order])
        size = self._blocks.in_group
        return order, np.concatenate([[0], ends[size - 1 : -1 : size], ends[-1:]])


def concatenate(batches: list[Batch]) -> Batch:
    """Return one batch of several, in their order."""
    if len(batches) == 1:
        return batches[0]
    fields: dict[str, Any] = {}
    for name, value in batches[0].__dict__.items():
        parts = [getattr(batch, name) for batch in batches]
        if isinstance(value, Mapping):
            fields[name] = {key: np.concatenate([part[key] for part in parts]) for key in value}
        else:
            fields[name] = None if value is None else np.concatenate(parts)
    return type(batches[0])(**fields)

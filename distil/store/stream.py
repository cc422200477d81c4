"""Tier 2: samples of a snapshot that is larger than its memory, streamed in groups of blocks (see `distil.store.blocks`).

A group is read into memory and its samples are permuted. While they are used, the next group is read in the background:

    memory A   | read group 0 | use group 0  | read group 2 | use group 2  | ...
    memory B                  | read group 1 | use group 1  | read group 3 | ...

So the order is a function of (content, budget, seed, cursor), and every sample comes once an epoch. Wide samples, such as
images, are read to where the order has them, so batches are views of a group instead of copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice, starmap
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from distil.seeding import generator
from distil.store.blocks import Blocks, cut_blocks, piece
from distil.store.memory import RowMemory
from distil.store.order import SampleSource, Stream, parts
from distil.store.rows import RowReader, Runs, ranges
from distil.store.sampler import copied, permuted
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.store.table import Gather, Table
from distil.store.weights import window_weights
from distil.store.windows import LABEL, LABELLED, Field, Layout, Pieces, WindowOptions, Windows, place
from distil.types import Array, Batch

_SCAN_SHARE = 5  # a scan has a fifth of a group in memory (see `distil.store.blocks`)
_STATISTICS_SHARE = 8  # last bits of statistics depend on it


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
        num_rows = min(num_rows, self._blocks.size * self._part(_STATISTICS_SHARE))
        return (columns for columns, _ in self._read(names, num_rows))

    def _read(self, names: Sequence[str], num_rows: int) -> Iterator[tuple[dict[str, Array], Array | None]]:
        """Yield the samples of `num_rows` transitions at a time, new arrays that nothing else holds, and their weights."""
        fields, reader = {name: self._layout.fields[LABEL if name == "action" else name] for name in names}, self.reader()
        episodes, ends = self._blocks.episodes, self._blocks.ends
        for begin in range(0, int(ends[-1]), num_rows):
            columns, keep, weights = self.read(
                fields, *piece(begin, min(begin + num_rows, int(ends[-1])), episodes, ends), reader
            )
            out = [({name: values[keep] for name, values in columns.items()}, weights)]
            del columns, weights
            yield out.pop()

    def read(
        self, fields: Mapping[str, Field], pieces: Pieces, episode: NDArray[np.int64], reader: RowReader
    ) -> tuple[dict[str, Array], NDArray[np.int64] | slice, Array | None]:
        """Return all transitions of `pieces` (of these episodes), which of them start samples, and the weights of these."""
        num = int(pieces.num.sum())
        keep: NDArray[np.int64] | slice = slice(None)
        out = {name: np.empty((num, *field.value_shape), field.value_dtype) for name, field in fields.items()}
        labels = {} if self._layout.windows.every or pieces.full.all() else {LABELLED: np.empty(num, np.uint8)}
        target = np.cumsum(pieces.num) - pieces.num
        if wanted := {fields[name].name: values for name, values in out.items()} | labels:
            runs = Runs(shard=pieces.shard, source=pieces.row + pieces.begin, target=target, count=pieces.num)
            reader.copy(runs, wanted)
        if labels:
            keep = np.flatnonzero(labels[LABELLED])
        weights = window_weights(self._snapshot, pieces, episode, reader)
        return out, keep, None if weights is None else weights[keep]

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
                cut = parts(batch if len(waiting) == 1 else concatenate(waiting), batch_size)
                del batch
                waiting.clear()
                yield from islice(cut, num // batch_size - 1)
                waiting = [concatenate([part]) for part in cut]  # what was read is free when more is read
                yield waiting.pop(0)
        if waiting:
            yield concatenate(waiting)

    def _scan_transitions(self, batch_size: int) -> Iterator[Batch]:
        """Yield single transitions, many batches at once: they are read to where they stay."""
        leaves = [field.name for field in self._layout.observations]
        num_rows = max(self._blocks.size * self._part(_SCAN_SHARE) // batch_size, 1) * batch_size
        return starmap(_transitions, self._read([*leaves, "action"], num_rows))

    def _scan_windows(self, batch_size: int) -> Iterator[Batch]:
        num_blocks = self._part(_SCAN_SHARE)
        loader = _Loader(self, num_blocks, self.reader())
        for begin in range(0, len(self._blocks), num_blocks):
            loaded = loader.load(np.arange(begin, min(begin + num_blocks, len(self._blocks))))
            for at in range(0, len(loaded), batch_size):
                yield loaded.batch(at, min(batch_size, len(loaded) - at))

    def _part(self, share: int) -> int:
        """Return the number of blocks that take one part in `share` of a group."""
        return max(1, min(self._blocks.in_group // share, len(self._blocks)))

    def reader(self) -> RowReader:
        """Return a new reader of the snapshot's shards."""
        return RowReader(self._snapshot.path, self._snapshot.entries, self._snapshot.spec)


class _Loader:
    """Reads groups of blocks, each into the same memory unless batches still show it."""

    def __init__(self, source: StreamSampler, num_blocks: int, reader: RowReader) -> None:
        self._source, self._reader = source, reader
        self._most_rows = int(source._blocks.most_rows[num_blocks - 1])
        wide = [field for field in source._layout.fields.values() if field.is_wide]
        self._memory = {field.name: RowMemory(field.dtype, field.shape, self._most_rows) for field in wide}

    @cached_property
    def _table(self) -> Table:
        return Table.allocate(self._source._layout, self._most_rows)

    def load(self, chosen: NDArray[np.int64]) -> _Loaded:
        """Return the samples of blocks `chosen`, in the snapshot's order; they last until the next call."""
        layout, table = self._source._layout, self._table
        pieces, episode = self._source._blocks.pieces(chosen)
        places = place(pieces, layout.windows)
        for heap in table.heaps.values():
            heap.clear()
        table.fill(self._reader, pieces, places)
        weights = window_weights(self._source._snapshot, pieces, episode, self._reader)
        samples, weights = table.samples(places.first, pieces.num, pieces.full, weights)
        return _Loaded(samples=samples, weights=weights, gather=table.gather())

    def load_in_order(self, chosen: NDArray[np.int64], generator: np.random.Generator, head: Batch | None) -> _Loaded | _Laid:
        """Return the samples of blocks `chosen` in a new order, of which `_Laid` begins with a copy of the samples `head`."""
        if not self._source._layout.is_laid:
            return self.load(chosen).permuted(generator)
        layout, memory, num_head = self._source._layout, self._memory, 0 if head is None else len(head)
        pieces, episode = self._source._blocks.pieces(chosen)
        narrow = {field.name: field for field in (*layout.observations, layout.fields[LABEL]) if not field.is_wide}
        columns, keep, weights = self._source.read(narrow, pieces, episode, self._reader)
        shard, row = np.repeat(pieces.shard, pieces.num)[keep], ranges(pieces.row + pieces.begin, pieces.num)[keep]
        order, weights = permuted(generator, np.arange(len(row)), weights)
        place = np.empty_like(order)
        place[order] = np.arange(num_head, num_head + len(order))
        at = place.tolist()
        wide = {name: rows.array(num_head + len(order)) for name, rows in memory.items()}
        self._reader.scatter(shard, row, {name: [rows.views[i] for i in at] for name, rows in memory.items()})
        columns = {name: values[keep].take(order, 0, mode="clip") for name, values in columns.items()}
        if head is not None:
            before = {**head.observations, LABEL: head.actions}
            columns = {name: np.concatenate([before[name][:, 0], values]) for name, values in columns.items()}
            for name, values in wide.items():
                values[:num_head] = before[name][:, 0]
            weights = None if weights is None else np.concatenate([head.weights, weights])
        columns |= wide
        return _Laid(actions=columns.pop(LABEL), observations=columns, weights=weights)


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """Samples in memory, and what makes batches of them."""

    samples: NDArray[np.int64]
    weights: Array | None  # [samples]
    gather: Gather

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, begin: int, num: int) -> Batch:
        return self.gather(self.samples[begin : begin + num], copied(self.weights, begin, begin + num))

    def permuted(self, generator: np.random.Generator) -> _Loaded:
        samples, weights = permuted(generator, self.samples, self.weights)
        return _Loaded(samples=samples, weights=weights, gather=self.gather)


@dataclass(frozen=True, kw_only=True)
class _Laid:
    """Single transitions that lie in memory in the order of the stream: batches are views."""

    observations: Mapping[str, Array]  # leaf name -> [samples, ...]
    actions: Array  # [samples, ...]
    weights: Array | None  # [samples]

    def __len__(self) -> int:
        return len(self.actions)

    def batch(self, begin: int, num: int) -> Batch:
        end = begin + num
        observations = {name: values[begin:end] for name, values in self.observations.items()}
        return _single(observations, self.actions[begin:end], copied(self.weights, begin, end))


@dataclass(frozen=True, kw_only=True)
class _Group:
    key: tuple[int, int]  # epoch, number
    begin: int  # position of its first sample
    loaded: _Loaded | _Laid  # in the order of the stream

    @property
    def end(self) -> int:
        return self.begin + len(self.loaded)


class _Coming(NamedTuple):
    key: tuple[int, int]
    begin: int
    group: Future[_Group]


class _Streamed:
    """A stream of groups; the next one is read while this one is used.

    So that batches are views there too, the next one begins with the samples of this one that are too few for a batch.
    """

    def __init__(self, source: StreamSampler, blocks: Blocks, seed: int) -> None:
        self._source, self._blocks, self._seed = source, blocks, seed
        self._num_samples = source.num_samples
        reader = source.reader()  # one thread uses it
        self._loaders = [_Loader(source, min(blocks.in_group, len(blocks)), reader) for _ in range(2)]
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="distil-stream")
        self._group: _Group | None = None
        self._coming: _Coming | None = None
        self._turn = 0

    def take(self, position: int, num: int) -> Batch:
        parts = []
        if self._group is not None and self._coming is None:
            self._read_ahead(self._group, (self._group.end - position) % num)
        while num:
            group = self._group
            is_next = self._coming is not None and self._coming.begin == position
            if group is None or is_next or not group.begin <= position < group.end:
                group = self._advance(position)
            count = min(num, group.end - position)
            if count < num and self._coming is None:
                self._read_ahead(group, 0)
            parts.append(group.loaded.batch(position - group.begin, count))
            position, num = position + count, num - count
        return parts[0] if len(parts) == 1 else concatenate(parts)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._group = self._coming = None
        self._loaders = []

    def _read_ahead(self, group: _Group, num_left: int) -> None:
        """Start to read the group after this one, and before it the last `num_left` samples of this one.

        Not as soon as this one is used: a consumer still has the last batch of the group before, whose memory is used again.
        """
        epoch, number = group.key
        after = (epoch, number + 1) if number + 2 < len(self._plan(epoch)[1]) else (epoch + 1, 0)
        is_laid = num_left and isinstance(group.loaded, _Laid)
        self._coming = self._submit(after, group.loaded.batch(len(group.loaded) - num_left, num_left) if is_laid else None)

    def _advance(self, position: int) -> _Group:
        """Make the group of a position the current one."""
        epoch, offset = divmod(position, self._num_samples)
        key = (epoch, int(np.searchsorted(self._plan(epoch)[1], offset, side="right")) - 1)
        coming, self._coming, self._group = self._coming, None, None
        if coming is None or (coming.begin != position and coming.key != key):
            if coming is not None:
                coming.group.exception()  # wait: it fills the memory that is taken next
            coming = self._submit(key, None)
        self._group = coming.group.result()
        return self._group

    def _submit(self, key: tuple[int, int], head: Batch | None) -> _Coming:
        self._turn ^= 1
        begin = key[0] * self._num_samples + int(self._plan(key[0])[1][key[1]]) - (0 if head is None else len(head))
        return _Coming(key, begin, self._pool.submit(self._load, key, begin, head, self._loaders[self._turn]))

    def _load(self, key: tuple[int, int], begin: int, head: Batch | None, loader: _Loader) -> _Group:
        size = self._blocks.in_group
        chosen = self._plan(key[0])[0][key[1] * size : (key[1] + 1) * size]
        loaded = loader.load_in_order(chosen, generator(self._seed, "epoch", key[0], "group", key[1]), head)
        return _Group(key=key, begin=begin, loaded=loaded)

    def _plan_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the order of the blocks, and where each group's samples begin; the number of samples comes last."""
        order = generator(self._seed, "epoch", epoch).permutation(len(self._blocks))
        ends = np.cumsum(self._blocks.samples[order])
        size = self._blocks.in_group
        return order, np.concatenate([[0], ends[size - 1 : -1 : size], ends[-1:]])


def _single(observations: Mapping[str, Array], actions: Array, weights: Array | None) -> Batch:
    """Return a batch of single transitions, as views of their columns."""
    wide = {name: values[:, None] for name, values in observations.items()}
    return Batch(observations=wide, actions=actions[:, None], is_pad=np.zeros((len(actions), 1), np.bool_), weights=weights)


def _transitions(columns: dict[str, Array], weights: Array | None) -> Batch:
    """Return a batch of leaves and "action"."""
    actions = columns.pop("action")
    return _single(columns, actions, weights)


def concatenate(batches: list[Batch]) -> Batch:
    """Return one batch of several, in their order, with memory of its own."""
    fields: dict[str, Any] = {}
    for name, value in batches[0].__dict__.items():
        parts = [getattr(batch, name) for batch in batches]
        if isinstance(value, Mapping):
            fields[name] = {key: np.concatenate([part[key] for part in parts]) for key in value}
        else:
            fields[name] = None if value is None else np.concatenate(parts)
    return type(batches[0])(**fields)

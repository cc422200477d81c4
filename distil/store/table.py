"""Rows in memory: filled from shards piece by piece, gathered into batches. `distil.store.windows` says how they lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from distil.store.codec import decode_at
from distil.store.damage import Origin, find_damage
from distil.store.heap import Heap
from distil.store.rows import RowReader, Runs, ranges
from distil.store.windows import (
    EXECUTED,
    GOAL,
    LABEL,
    LABELLED,
    NEXT,
    PAD,
    REWARD,
    TERMINATED,
    TRUNCATED,
    Field,
    Layout,
    Pieces,
    Places,
    TransitionBatch,
)
from distil.types import Array, Batch

Gather = Callable[[NDArray[np.int64], Array | None], Batch]  # samples [B], and their weights or None
_Take = Callable[[NDArray[np.int64]], Array]
PACKED = "packed"


class Table:
    """Columns of P rows, and the heaps of those that are held compressed."""

    def __init__(self, layout: Layout, arrays: Mapping[str, Array], heaps: Mapping[str, Heap]) -> None:
        """Hold what `allocate` of the same layout describes."""
        self.layout, self.heaps = layout, heaps
        self.origin: Origin | None = None  # of its rows
        self._packed = arrays.get(PACKED)
        self.columns = dict(arrays)
        if self._packed is not None:
            del self.columns[PACKED]
            for name in self._packed.dtype.names or ():
                self.columns[name] = self._packed[name][:, 0]

    @staticmethod
    def needs(layout: Layout) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Return name -> type and shape of a row of the arrays that a table is made of."""
        out = {field.name: (field.dtype, field.shape) for field in layout.fields.values()}
        if layout.is_packed:
            out = {PACKED: (layout.packed_dtype, ()), PAD: out[PAD]}
        return out

    @staticmethod
    def allocate(layout: Layout, num_rows: int) -> Table:
        """Return a table in memory of this process alone, not yet filled."""
        arrays = {name: np.empty((num_rows, *shape), dtype) for name, (dtype, shape) in Table.needs(layout).items()}
        return Table(layout, arrays, {name: Heap() for name in layout.compressed})

    def fill(self, reader: RowReader, pieces: Pieces, places: Places, begin: int = 0) -> None:
        """Read `pieces` to their places; rows from `begin` to the last place's end are new."""
        columns, windows = self.columns, self.layout.windows
        self.origin = reader.origin
        first, num = places.first, pieces.num
        back = np.minimum(pieces.begin, windows.obs_horizon - 1)
        leaves = {field.name: columns[field.name] for field in self.layout.observations}
        has_extra = np.flatnonzero(places.extra)
        sources = [pieces.row + pieces.begin - back, (pieces.row + pieces.length)[has_extra]]
        targets = [first - back, (first + num + places.after)[has_extra]]
        runs = Runs(
            shard=np.concatenate([pieces.shard, pieces.shard[has_extra]]),
            source=np.concatenate(sources),
            target=np.concatenate(targets),
            count=np.concatenate([back + num + places.after, np.ones_like(has_extra)]),
        )
        actions = {name: columns[name] for name in (LABEL, EXECUTED, REWARD, TERMINATED, TRUNCATED) if name in columns}
        if REWARD in columns:
            columns[REWARD][begin : places.end] = 0
        if self.layout.is_packed:  # the same rows of both
            reader.copy(runs, leaves | actions, self.heaps)
        else:
            forward = np.minimum(max(windows.chunk, windows.n_step or 1) - 1, pieces.length - pieces.end)
            reader.copy(runs, leaves, self.heaps)
            runs = Runs(shard=pieces.shard, source=pieces.row + pieces.begin, target=first, count=num + forward)
            reader.copy(runs, actions)
        self._fill_pads(reader, pieces, runs, slice(begin, places.end))
        self._fill_gaps(pieces, places)
        self._fill_offsets(pieces, places)

    def _fill_pads(self, reader: RowReader, pieces: Pieces, runs: Runs, new: slice) -> None:
        """Mark what has no label; labels are read only where the index of episodes doesn't tell."""
        pad = self.columns[PAD]
        if self.layout.is_packed and pieces.full.all():
            pad[new] = False
            return
        pad[new] = True
        pad[ranges(runs.target[pieces.full], runs.count[pieces.full])] = False
        if pieces.full.all():
            return
        rest = Runs(**{name: values[~pieces.full] for name, values in runs.__dict__.items()})
        reader.copy(rest, {LABELLED: pad.view(np.uint8)})
        rows = ranges(rest.target, rest.count)
        pad[rows] = pad.view(np.uint8)[rows] == 0

    def _fill_gaps(self, pieces: Pieces, places: Places) -> None:
        windows, first, num = self.layout.windows, places.first, pieces.num
        for step in range(1, windows.obs_horizon):
            beyond = pieces.begin < step
            for field in self.layout.observations:
                values = self.columns[field.name]
                values[first[beyond] - step] = values[(first - pieces.begin)[beyond]]
        labels, last = self.columns[LABEL], first + pieces.length - 1 - pieces.begin
        for step in range(windows.chunk - 1):
            beyond = pieces.end + step >= pieces.length
            labels[(first + num)[beyond] + step] = labels[last[beyond]]

    def _fill_offsets(self, pieces: Pieces, places: Places) -> None:
        windows, num = self.layout.windows, pieces.num
        if windows.n_step is None and windows.goal is None:
            return
        rows = ranges(places.first, num)
        left = np.repeat(pieces.length, num) - ranges(pieces.begin, num)  # steps to the last observation
        if windows.n_step is not None:
            self.columns[NEXT][rows] = np.minimum(windows.n_step, left)
        if isinstance(windows.goal, int):
            self.columns[GOAL][rows] = np.minimum(windows.goal, left)
        elif windows.goal == "end":
            behind = np.repeat(places.first + num + places.after, num) - rows
            self.columns[GOAL][rows] = np.where(np.repeat(places.extra, num) > 0, behind, left)

    def samples(
        self, first: NDArray[np.int64], num: NDArray[np.int64], full: NDArray[np.bool_], weights: Array | None = None
    ) -> tuple[NDArray[np.int64], Array | None]:
        """Return the samples that start in rows [first, first + num), in that order, and their weights, as `gather` takes them.

        Args:
            first: [N] rows.
            num: [N] transitions.
            full: [N] where all of them are labelled.
            weights: [sum(num)] of the windows that start there; None: they have none.
        """
        rows = ranges(first, num)
        if not self.layout.windows.every and not full.all():
            starts = ~self.columns[PAD][rows]
            rows, weights = rows[starts], None if weights is None else weights[starts]
        return rows - self.layout.windows.gap, weights

    def gather(self) -> Gather:
        """Return a function from samples [B] and their weights to their batch."""
        packed, windows = self._packed, self.layout.windows
        names = [field.name for field in self.layout.observations]
        if packed is not None and not self.layout.compressed:
            return _gather_packed(packed, names)
        gap, fields, pad = windows.gap, self.layout.fields, self.columns[PAD]
        current = {name: self._windows(fields[name], windows.obs_horizon, gap - windows.obs_horizon + 1) for name in names}
        actions, is_pad = self._windows(fields[LABEL], windows.chunk, gap), _windows(pad, windows.chunk, gap)
        goals = self._goals()

        def gather(indices: NDArray[np.int64], weights: Array | None) -> Batch:
            observations = {name: take(indices) for name, take in current.items()}
            if goals is not None:
                observations |= goals(indices)
            return Batch(observations=observations, actions=actions(indices), is_pad=is_pad(indices), weights=weights)

        return gather if windows.n_step is None else self._gather_transitions(gather, windows.n_step)

    def _goals(self) -> Callable[[NDArray[np.int64]], dict[str, Array]] | None:
        if self.layout.windows.goal is None:
            return None
        ahead, there = self.columns[GOAL][self.layout.windows.gap :], self._ahead()

        def goals(indices: NDArray[np.int64]) -> dict[str, Array]:
            rows = indices + ahead[indices]
            return {f"goal/{name}": take(rows) for name, take in there.items()}

        return goals

    def _ahead(self) -> dict[str, _Take]:
        """Return name -> a function from rows to single observations there."""
        return {field.name: self._windows(field, 1, self.layout.windows.gap) for field in self.layout.observations}

    def _gather_transitions(self, gather: Gather, n_step: int) -> Gather:
        gap, fields = self.layout.windows.gap, self.layout.fields
        ahead, there = self.columns[NEXT][gap:], self._ahead()
        terminated, truncated = self.columns[TERMINATED][gap:], self.columns[TRUNCATED][gap:]
        executed = self._windows(fields[EXECUTED], 1, gap)
        rewards = self._windows(fields[REWARD], n_step, gap) if REWARD in fields else None

        def transitions(indices: NDArray[np.int64], weights: Array | None) -> Batch:
            batch, steps = gather(indices, weights), ahead[indices].astype(np.int64)
            rows = indices + steps
            return TransitionBatch(
                **batch.__dict__,
                executed=executed(indices),
                rewards=None if rewards is None else rewards(indices),
                num_steps=steps,
                next_observations={name: take(rows) for name, take in there.items()},
                terminated=terminated[rows - 1] != 0,
                truncated=truncated[rows - 1] != 0,
            )

        return transitions

    def _windows(self, field: Field, width: int, first: int) -> _Take:
        take = _windows(self.columns[field.name], width, first)
        if not field.is_compressed:
            return take
        assert field.column is not None
        data, dtype, shape = self.heaps[field.name].data(), field.column.dtype, field.column.shape

        def decoded(indices: NDArray[np.int64]) -> Array:
            blocks = take(indices)
            out = np.empty((len(indices), width, *shape), dtype)
            flat = out.reshape(len(indices) * width, -1)
            try:
                decode_at(blocks["begin"].ravel().tolist(), blocks["end"].ravel().tolist(), data, flat)
            except ValueError:
                assert self.origin is not None  # else there were no rows
                raise find_damage(self.origin) from None
            return out

        return decoded

    def rows(self, name: str, indices: NDArray[np.int64]) -> Array:
        """Return a contiguous copy of one column's rows at samples `indices`; [len(indices), *shape]."""
        field, gap = self.layout.fields[name], self.layout.windows.gap
        if field.is_compressed:
            return np.ascontiguousarray(self._windows(field, 1, gap)(indices)[:, 0])
        return np.ascontiguousarray(self.columns[name][indices + gap])  # `take` would copy a packed column whole


def _gather_packed(packed: Array, names: list[str]) -> Gather:
    take = packed.take

    def gather(indices: NDArray[np.int64], weights: Array | None) -> Batch:
        batch = take(indices, 0, None, "clip")
        return Batch(
            observations={name: batch[name] for name in names},
            actions=batch[LABEL],
            is_pad=np.zeros((len(indices), 1), np.bool_),
            weights=weights,
        )

    return gather


def _windows(values: Array, width: int, first: int) -> _Take:
    """Return a function from indices i [B] to copies of `values[first + i : first + i + width]`, [B, width, ...].

        values from `first`   | a | b | c | d | e |      width 3
        blocks[0]             [ a   b   c ]
        blocks[1]                 [ b   c   d ]
        blocks[2]                     [ c   d   e ]

    An element of `blocks` is a window's raw bytes. Elements start one row apart and overlap in the memory of `values`, so that
    only indexing copies: one block of memory for each window.
    """
    shape = values.shape[1:]
    values = values[first:]
    if width == 1:
        take = values[:, None].take
        return lambda indices: take(indices, 0, None, "clip")
    size = width * values.dtype.itemsize * int(np.prod(shape))
    blocks = values.reshape(-1).view(np.uint8)[:size].view(f"V{size}")
    blocks = as_strided(blocks, shape=(len(values) - width + 1,), strides=(size // width,), writeable=False)
    return lambda indices: blocks[indices].view(values.dtype).reshape(len(indices), width, *shape)

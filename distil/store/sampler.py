"""Sampling from memory: shuffled windows over contiguous columns, in an order that is a function of (content, seed, cursor).

Single transitions (H = T = 1) lie packed, observation beside action, so that a sample is one read of memory; the batch's
arrays are strided views of the packed rows.

Windows: transitions of all episodes follow one another in one array a column, with a gap of G = max(H, T) - 1 rows before
each episode and after the last. The observations' gap repeats the episode's first row backwards, the actions' gap repeats
its last row forwards, so every window is one block of memory that needs no clamping: sample q has its observations at rows
[q + G - H + 1, q + G] and its actions at [q + G, q + G + T - 1].

Legend: B batch, H observation horizon, T action chunk, P rows with gaps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from distil.errors import InputError
from distil.seeding import generator
from distil.types import Array, Batch

if TYPE_CHECKING:
    from distil.store.snapshot import Snapshot

_Gather = Callable[[NDArray[np.int64]], Batch]
_LABEL = "expert_action"


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A position in the stream of samples: `offset` samples into epoch `epoch`, whatever the world size."""

    epoch: int = 0
    offset: int = 0

    def advance(self, num: int, num_samples: int) -> Cursor:
        """Return the position `num` samples later, where an epoch has `num_samples`."""
        epochs, offset = divmod(self.offset + num, num_samples)
        return Cursor(epoch=self.epoch + epochs, offset=offset)


class Sampler:
    """Windows of a snapshot's labelled transitions, held in memory. Reads the columns once, when made."""

    def __init__(self, snapshot: Snapshot, *, obs_horizon: int = 1, chunk: int = 1, float_dtype: str = "float32") -> None:
        """Read the observations and labels of `snapshot`.

        Args:
            snapshot: what to sample from.
            obs_horizon: observations in a window, H; the last one is the current.
            chunk: actions in a window, T; the first one is the current.
            float_dtype: of boxes of floats; integers keep their type.

        Raises:
            InputError: no transition is labelled, or a size is below 1.
            RunError: a shard is damaged.
        """
        if obs_horizon < 1 or chunk < 1:
            raise InputError(f"obs_horizon {obs_horizon} and chunk {chunk}: should be at least 1")
        if not snapshot.episodes.num_labelled.any():
            raise InputError(
                f"{snapshot.path}: no labelled transition among {snapshot.num_episodes} episodes; collect demonstrations"
            )
        self._horizon, self._chunk, self._gap = obs_horizon, chunk, max(obs_horizon, chunk) - 1
        self._names = [leaf.name for leaf in snapshot.spec.observation.leaves]
        lengths = snapshot.episodes.length
        num_rows = int((lengths + self._gap).sum()) + self._gap
        self._rows, packed = _allocate(snapshot, self._names, num_rows, np.dtype(float_dtype), packed=self._gap == 0)
        is_pad = self._read(snapshot)
        self._starts = np.flatnonzero(~is_pad) - self._gap  # [num_samples]
        self._gather = _gather_windows(self._rows, is_pad, obs_horizon, chunk) if packed is None else _gather_packed(packed)

    def _read(self, snapshot: Snapshot) -> NDArray[np.bool_]:
        """Fill the columns and their gaps; return which rows have no label, [P]."""
        rows, gap, lengths = self._rows, self._gap, snapshot.episodes.length
        first = np.cumsum(lengths + gap) - lengths  # [episodes] row of the first transition
        last = first + lengths - 1
        labelled = np.zeros(int(last[-1]) + 1 + gap, np.uint8)
        snapshot.copy_rows({**rows, "labelled": labelled}, first=first, rows=lengths)
        for step in range(1, self._horizon):
            for name in self._names:
                rows[name][first - step] = rows[name][first]
        for step in range(1, self._chunk):
            rows[_LABEL][last + step] = rows[_LABEL][last]
        unlabelled: NDArray[np.bool_] = labelled == 0
        return unlabelled

    @property
    def num_samples(self) -> int:
        """Number of windows: one starts at each labelled transition."""
        return len(self._starts)

    @property
    def columns(self) -> Mapping[str, Array]:
        """Leaf name and "action" -> [num_samples, ...]: the labelled transitions, to compute statistics from.

        Each array is a contiguous copy, made when it is asked for.
        """
        sources = {**{name: name for name in self._names}, "action": _LABEL}
        return _Copies(self._rows, sources, self._starts + self._gap)

    def batches(
        self,
        *,
        batch_size: int,
        seed: int,
        cursor: Cursor | None = None,
        rank: int = 0,
        world_size: int = 1,
        num_batches: int | None = None,
    ) -> Iterator[Batch]:
        """Yield this rank's part of each global batch of the endless stream that starts at `cursor`.

        The stream is one permutation of all samples after another, so batches are always full and each epoch has every
        sample once. The same content, seed and cursor give the same batches at any world size.

        Args:
            batch_size: of the global batch, B.
            seed: of the order.
            cursor: where to start; None: at the beginning.
            rank: which slice of each global batch to take.
            world_size: number of slices; InputError unless it divides `batch_size`.
            num_batches: stop after so many; None: never.
        """
        if batch_size < 1 or world_size < 1 or batch_size % world_size:
            raise InputError(f"batch_size {batch_size}: should be a multiple of the number of learners, {world_size}")
        assert 0 <= rank < world_size
        return self._stream(batch_size, seed, cursor or Cursor(), rank, world_size, num_batches)

    def _stream(self, size: int, seed: int, cursor: Cursor, rank: int, world: int, num: int | None) -> Iterator[Batch]:
        part, num_samples = size // world, self.num_samples
        order = lru_cache(maxsize=2)(partial(self._order, seed))
        at = cursor.advance(rank * part, num_samples)
        epoch, offset = at.epoch, at.offset
        for _ in itertools.count() if num is None else range(num):
            if offset + part <= num_samples:
                indices = order(epoch)[offset : offset + part]
            else:
                indices = _across(order, Cursor(epoch=epoch, offset=offset), part, num_samples)
            yield self._gather(indices)
            offset += size
            if offset >= num_samples:
                epoch, offset = epoch + offset // num_samples, offset % num_samples

    def scan(self, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in the snapshot's order; the last batch may be smaller."""
        for start in range(0, self.num_samples, batch_size):
            yield self._gather(self._starts[start : start + batch_size])

    def _order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        return generator(seed, "epoch", epoch).permutation(self._starts)


class _Copies(Mapping[str, Array]):
    """Rows of columns, copied out on access."""

    def __init__(self, columns: Mapping[str, Array], sources: Mapping[str, str], rows: NDArray[np.int64]) -> None:
        self._columns, self._sources, self._rows = columns, sources, rows

    def __getitem__(self, name: str) -> Array:
        values: Array = self._columns[self._sources[name]]
        return np.ascontiguousarray(values) if len(self._rows) == len(values) else values[self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def _allocate(
    snapshot: Snapshot, names: list[str], num_rows: int, float_dtype: np.dtype[np.floating], *, packed: bool
) -> tuple[dict[str, Array], Array | None]:
    """Return uninitialised columns [num_rows, ...] of leaves and labels, and the packed array if they are views of one."""
    fields = []
    for column in snapshot.spec.columns():
        if column.name in (*names, _LABEL):
            dtype = float_dtype if np.issubdtype(column.dtype, np.floating) else column.dtype
            fields.append((column.name, dtype, column.shape))
    if not packed:
        return {name: np.empty((num_rows, *shape), dtype) for name, dtype, shape in fields}, None
    rows = np.empty(num_rows, np.dtype([(name, dtype, (1, *shape)) for name, dtype, shape in fields], align=True))
    return {name: rows[name][:, 0] for name, _, _ in fields}, rows


def _across(order: Callable[[int], NDArray[np.int64]], at: Cursor, num: int, num_samples: int) -> NDArray[np.int64]:
    """Return `num` samples from `at` on, over the ends of epochs."""
    parts = []
    while num:
        parts.append(order(at.epoch)[at.offset : at.offset + num])
        num -= len(parts[-1])
        at = at.advance(len(parts[-1]), num_samples)
    return np.concatenate(parts)


def _gather_packed(packed: Array) -> _Gather:
    """Return a function from samples [B] to their batch, for packed columns."""
    take, names = packed.take, [name for name in packed.dtype.names or () if name != _LABEL]

    def gather(indices: NDArray[np.int64]) -> Batch:
        batch = take(indices, 0, None, "clip")
        return Batch(
            observations={name: batch[name] for name in names},
            actions=batch[_LABEL],
            is_pad=np.zeros((len(indices), 1), np.bool_),
        )

    return gather


def _gather_windows(columns: Mapping[str, Array], is_pad: NDArray[np.bool_], horizon: int, chunk: int) -> _Gather:
    """Return a function from samples [B] to their batch, for columns with gaps."""
    gap = max(horizon, chunk) - 1
    observations = {name: _windows(v, horizon, gap - horizon + 1) for name, v in columns.items() if name != _LABEL}
    actions, pad = _windows(columns[_LABEL], chunk, gap), _windows(is_pad, chunk, gap)
    return lambda indices: Batch(
        observations={name: windows(indices) for name, windows in observations.items()},
        actions=actions(indices),
        is_pad=pad(indices),
    )


def _windows(values: Array, width: int, first: int) -> Callable[[NDArray[np.int64]], Array]:
    """Return a function from indices i [B] to copies of `values[first + i : first + i + width]`, [B, width, ...]."""
    shape = values.shape[1:]
    values = values[first:]
    if width == 1:
        take = values[:, None].take
        return lambda indices: take(indices, 0, None, "clip")
    size = width * values.dtype.itemsize * int(np.prod(shape))
    blocks = values.reshape(-1).view(np.uint8)[:size].view(f"V{size}")
    blocks = as_strided(blocks, shape=(len(values) - width + 1,), strides=(size // width,), writeable=False)
    return lambda indices: blocks[indices].view(values.dtype).reshape(len(indices), width, *shape)

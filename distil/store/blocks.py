"""Blocks: how a snapshot that is larger than its memory is cut into pieces of equal size, and how many are read together.

    episodes  |------ 0 ------|-- 1 --|----------------- 2 ----------------|- 3 -|    transitions, in the snapshot's order
    blocks    |    0    |    1    |    2    |    3    |    4    |    5    |   6  |    `size` transitions each
    pieces    |    a    |  b  | c |d|   e   |    f    |    g    |    h  |i|  j   |    parts of one episode in one block

An epoch takes the blocks in a permuted order, such as 2 0 5 1 6 3 4, in groups of `in_group`: 2 0 5, then 1 6 3, then 4. The
blocks and groups depend on the content and the budget alone: not on shards, ranks or speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distil.errors import InputError
from distil.store.rows import RowReader, Runs
from distil.store.sampler import whole_episodes
from distil.store.snapshot import Snapshot
from distil.store.weights import WEIGHT_BYTES
from distil.store.windows import LABELLED, Layout, Pieces, place

_MAX_BLOCK = 4096  # transitions: larger ones aren't faster to read
_BLOCKS_IN_GROUP = 64  # at least, where blocks needn't get too small for it
_MIN_BLOCK = 64
_INDEX_BYTES = 24  # of a sample, while its group is permuted
_SHARES = 2.2  # two groups and a scan, in groups
_LABEL_ROWS = 1 << 20
_RESERVED_BYTES = 1 << 20  # for reading, here and in a scan


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """N blocks of a snapshot: those that have samples."""

    episodes: Pieces  # all episodes of the snapshot
    ends: NDArray[np.int64]  # [num_episodes] transitions up to the end of each
    number: NDArray[np.int64]  # [N] block k is transitions [k * size, (k + 1) * size)
    samples: NDArray[np.int64]  # [N] number of samples in it
    size: int
    in_group: int  # blocks that are in memory together
    most_rows: NDArray[np.int64]  # rows that 1, 2, ... blocks take in memory at most

    def __len__(self) -> int:
        return len(self.number)

    def pieces(self, chosen: NDArray[np.int64]) -> tuple[Pieces, NDArray[np.int64]]:
        """Return the pieces of the blocks at positions `chosen`, in the snapshot's order, and the episode of each."""
        pieces, _, episode = pieces_of(np.sort(self.number[chosen]), self.size, self.episodes, self.ends)
        return pieces, episode


class BudgetError(InputError):
    """The budget is too small to stream with; `needed_bytes` is one that suffices."""

    def __init__(self, message: str, needed_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes


def cut_blocks(snapshot: Snapshot, layout: Layout, budget: int) -> Blocks:
    """Return the blocks of a snapshot for a stream that takes `budget` bytes: two groups, a scan of an eighth, and buffers.

    Labels are read only where an episode has some but not all.

    Raises:
        InputError: no transition is labelled, or (`BudgetError`) the budget is too small.
        RunError: a shard is damaged.
    """
    windows, reader = layout.windows, RowReader(snapshot.path, snapshot.entries, snapshot.spec)
    episodes = whole_episodes(snapshot, windows)
    ends = np.cumsum(episodes.length)
    weight_bytes = 0 if snapshot.weights is None else WEIGHT_BYTES
    row_bytes = layout.row_bytes + _INDEX_BYTES + weight_bytes + _compressed_bytes(snapshot, layout, reader)
    rows = int((budget - _RESERVED_BYTES) / _SHARES / row_bytes) - windows.gap
    size = max(min(_MAX_BLOCK, rows // _BLOCKS_IN_GROUP), _MIN_BLOCK)
    total = int(ends[-1])
    number = np.arange(-(-total // size))
    pieces, owner, episode = pieces_of(number, size, episodes, ends)
    places = place(pieces, windows)
    taken = np.diff(places.first + pieces.num + places.after + places.extra, prepend=0)  # rows of each piece
    most = np.cumsum(np.sort(np.bincount(owner, weights=taken).astype(np.int64))[::-1])
    in_group = int(np.searchsorted(most, rows, side="right"))
    if in_group < min(2, len(number)):
        need = int((most[min(1, len(number) - 1)] + windows.gap + 1) * row_bytes * _SHARES) + _RESERVED_BYTES + row_bytes
        text = f"memory_budget {budget}: too small to shuffle rows of {row_bytes} bytes; give it at least {need} bytes"
        raise BudgetError(text, need)
    samples = np.minimum((number + 1) * size, total) - number * size
    if not windows.every:
        counts = _labelled(pieces, snapshot.episodes.num_labelled[episode], reader)
        samples = np.bincount(owner, weights=counts, minlength=len(number)).astype(np.int64)
    keep = samples > 0
    return Blocks(
        episodes=episodes,
        ends=ends,
        number=number[keep],
        samples=samples[keep],
        size=size,
        in_group=in_group,
        most_rows=most + windows.gap,
    )


def pieces_of(
    number: NDArray[np.int64], size: int, episodes: Pieces, ends: NDArray[np.int64]
) -> tuple[Pieces, NDArray[np.int64], NDArray[np.int64]]:
    """Return the pieces of blocks `number` of `size` transitions, the position in `number` of each piece, and its episode.

    Args:
        number: [N] ascending.
        size: transitions of a block.
        episodes: all episodes.
        ends: [num_episodes] transitions up to the end of each.
    """
    begin, end = number * size, np.minimum((number + 1) * size, ends[-1])
    first, last = np.searchsorted(ends, begin, side="right"), np.searchsorted(ends, end - 1, side="right")
    count = last - first + 1
    owner = np.repeat(np.arange(len(number)), count)
    episode = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count - first, count)
    start = ends[episode] - episodes.length[episode]
    pieces = Pieces(
        shard=episodes.shard[episode],
        row=episodes.row[episode],
        length=episodes.length[episode],
        begin=np.maximum(begin[owner] - start, 0),
        end=np.minimum(end[owner] - start, episodes.length[episode]),
        full=episodes.full[episode],
    )
    return pieces, owner, episode


def piece(begin: int, end: int, episodes: Pieces, ends: NDArray[np.int64]) -> tuple[Pieces, NDArray[np.int64]]:
    """Return the pieces of transitions [begin, end), and the episode of each: `pieces_of` for one block."""
    first, last = np.searchsorted(ends, [begin, end - 1], side="right")
    chosen = slice(int(first), int(last) + 1)
    pieces = Pieces(**{name: values[chosen].copy() for name, values in vars(episodes).items()})
    pieces.begin[0] += begin - (ends[first] - episodes.length[first])
    pieces.end[-1] -= ends[last] - end
    return pieces, np.arange(chosen.start, chosen.stop)


def _compressed_bytes(snapshot: Snapshot, layout: Layout, reader: RowReader) -> int:
    """Return the mean bytes of a row's compressed columns, rounded up."""
    rows = sum(entry.num_rows for entry in snapshot.entries)
    return -(-sum(reader.blocks_bytes(name) for name in layout.compressed) // rows)


def _labelled(pieces: Pieces, labels: NDArray[np.int64], reader: RowReader) -> NDArray[np.int64]:
    """Return how many labelled transitions each piece has, where its episode has `labels` of them."""
    counts = np.where(labels == pieces.length, pieces.num, 0)
    partial = np.flatnonzero((labels > 0) & (labels < pieces.length))
    ends = np.cumsum(pieces.num[partial])
    cuts = np.unique(np.searchsorted(ends, np.arange(0, ends[-1] if len(ends) else 0, _LABEL_ROWS)))
    for begin, end in pairwise([*cuts.tolist(), len(partial)]):
        part = pieces.take(partial[begin:end])
        starts = np.cumsum(part.num) - part.num
        labelled = np.empty(int(part.num.sum()), np.uint8)
        runs = Runs(shard=part.shard, source=part.row + part.begin, target=starts, count=part.num)
        reader.copy(runs, {LABELLED: labelled})
        counts[partial[begin:end]] = np.add.reduceat(labelled != 0, starts, dtype=np.int64)
    return counts

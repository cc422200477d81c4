"""Reading rows of shards by `pread` into memory of a fixed size: what is read never counts as the process's own memory.

A column of a shard is one range of bytes (see `distil.store.schema`), so rows are too. Runs of rows that lie near each other
in a file are read at once, with the rows between them, unless the runs are long. Files are not mapped: a mapped file that is
truncated, or a disk that fails, would end the process without an error.
"""

from __future__ import annotations

import json
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distil.errors import RunError
from distil.store.backend import backend
from distil.store.codec import RAW, check_offsets, decode
from distil.store.damage import Origin, find_damage
from distil.store.files import os_fault
from distil.store.heap import BLOCK, Heap
from distil.store.location import Location
from distil.store.schema import Column, StoreSpec
from distil.store.shard import ShardEntry, open_shard
from distil.types import Array

_SCRATCH_BYTES = 1 << 18
_HOLE_BYTES = 1 << 15  # reading over a hole of this size is cheaper than a second call
_WIDE_BYTES = 1 << 11  # rows, such as images, that are read to where they stay, without those between
_STRAIGHT_BYTES = 1 << 22  # at once then
_MOST_VIEWS = 1024  # that one call fills: IOV_MAX
_MAX_OPEN = 256  # files of all readers of this process, or a quarter of what the system allows


@dataclass(frozen=True, kw_only=True)
class Runs:
    """N ranges of rows to copy: row `source + i` of shard `shard` becomes row `target + i`, for i < count."""

    shard: NDArray[np.int64]  # [N]
    source: NDArray[np.int64]  # [N]
    target: NDArray[np.int64]  # [N]
    count: NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class _Opened:
    path: Path
    descriptor: int
    places: Mapping[str, tuple[int, int]]  # column -> where its values lie; of a compressed one: its offsets, its blocks


class _Schema:
    """A spec that can be part of a cache's key."""

    def __init__(self, spec: StoreSpec) -> None:
        self.spec, self._text = spec, json.dumps(spec.to_json() | {"env": {}}, sort_keys=True)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Schema) and other._text == self._text


class _OpenFiles:
    """How many files the readers of this process hold open, so that together they stay within a limit.

    Below the limit a reader opens what it likes. At the limit each one has an equal share, and closes files of its own before
    it opens another; so there are never more than twice as many.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a reader may be collected while another one is counted
        self._num_files = self._num_readers = 0

    def share(self) -> int:
        """Return how many files a reader may hold before it opens another one."""
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = _MAX_OPEN if allowed == resource.RLIM_INFINITY else max(1, min(_MAX_OPEN, allowed // 4))
        with self._lock:
            return limit if self._num_files < limit else max(1, limit // max(1, self._num_readers))

    def count(self, files: int, readers: int) -> None:
        """Add to the number of open files, and of readers that have some; negative numbers remove."""
        with self._lock:
            self._num_files += files
            self._num_readers += readers


_OPEN_FILES = _OpenFiles()


class RowReader:
    """Copies rows out of the shards of one version of a store. Not for two threads at a time."""

    def __init__(self, root: Location, entries: Sequence[ShardEntry], spec: StoreSpec) -> None:
        """Prepare to read `entries` below the store's folder `root`; nothing is opened yet."""
        self._root, self._entries, self._spec = root, entries, spec
        self._columns = {column.name: column for column in spec.columns()}
        self._scratch = np.empty(_SCRATCH_BYTES, np.uint8)
        self._schema = _Schema(spec)
        self._open: OrderedDict[int, _Opened] = OrderedDict()
        self.num_bytes = 0  # read so far

    @property
    def origin(self) -> Origin:
        """The shards that it reads."""
        return Origin(root=self._root, entries=self._entries, spec=self._spec)

    def close(self) -> None:
        """Close the files; reading again opens them again."""
        while self._open:
            self._close_one()

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()

    def copy(self, runs: Runs, out: Mapping[str, Array], heaps: Mapping[str, Heap] | None = None) -> None:
        """Copy rows of the columns in `out`, cast to the types there.

        Args:
            runs: which rows, and where they go; targets don't overlap.
            out: column -> [rows, ...]. Of a column in `heaps`: [rows] of `BLOCK`, where the compressed rows lie in the heap.
            heaps: column -> where the blocks of a compressed column are appended, to be decoded later.

        Raises:
            RunError: a shard is missing or damaged.
        """
        jobs = [_Job.of(self._columns[name], values, self._scratch, (heaps or {}).get(name)) for name, values in out.items()]
        row_bytes = sum(job.size for job in jobs)
        is_wide = row_bytes > _WIDE_BYTES
        is_long = is_wide or int(runs.count.sum()) * row_bytes > _HOLE_BYTES * len(runs.count)  # a call costs little then
        hole = -1 if is_long else _HOLE_BYTES // row_bytes
        at_once = _STRAIGHT_BYTES if is_wide and all(job.straight is not None for job in jobs) else _SCRATCH_BYTES
        for span in _spans(runs, most=max(1, at_once // max(job.size for job in jobs)), hole=hole):
            opened = self._file(span.shard)
            for job in jobs:
                if job.column.codec == RAW:
                    self._copy_raw(opened, job, span)
                else:
                    self._copy_compressed(opened, job.column, span, job.out, job.heap)

    def scatter(self, shard: NDArray[np.int64], source: NDArray[np.int64], out: Mapping[str, list[memoryview]]) -> None:
        """Read single rows: row `source[i]` of shard `shard[i]` fills the view `i`. Neighbours in a file are read at once.

        Args:
            shard: [N]
            source: [N]
            out: raw column -> N views, each of the bytes of a row.

        Raises:
            RunError: a shard is missing or damaged.
        """
        cuts = np.flatnonzero((shard[1:] != shard[:-1]) | (source[1:] != source[:-1] + 1)) + 1
        begins, ends = [0, *cuts.tolist()], [*cuts.tolist(), len(source)]
        spans = list(zip(shard[begins].tolist(), source[begins].tolist(), begins, ends, strict=True))
        for name, views in out.items():
            size = self._columns[name].row_bytes
            for number, first, begin, end in spans:
                opened = self._file(number)
                self._fill(opened, opened.places[name][0] + first * size, views[begin:end], (end - begin) * size)

    def blocks_bytes(self, name: str) -> int:
        """Return the bytes of a compressed column in all shards."""
        return sum(self._file(number).places[f"{name}:bytes"][0] for number in range(len(self._entries)))

    def _copy_raw(self, opened: _Opened, job: _Job, span: _Span) -> None:
        column, size = job.column, job.size
        where = opened.places[column.name][0] + span.first * size
        if job.straight is not None and span.runs is None:
            self._fill(opened, where, [job.straight[span.target * size : (span.target + span.num) * size]], span.num * size)
            return
        if span.num <= len(job.rows):
            rows, view = job.rows[: span.num], self._scratch.data[: span.num * size]
        else:
            rows = np.empty((span.num, *column.shape), column.dtype)
            view = rows.data.cast("B")
        self._fill(opened, where, [view], len(view))
        _place(rows, span, job.out)

    def _copy_compressed(self, opened: _Opened, column: Column, span: _Span, out: Array, heap: Heap | None) -> None:
        where, data = opened.places[column.name]
        raw = self._read(opened, where + 8 * span.first, 8 * (span.num + 1))
        offsets = raw.view(np.int64).copy()
        try:
            check_offsets(offsets, opened.places[f"{column.name}:bytes"][0])
            blocks = self._read(opened, data + int(offsets[0]), int(offsets[-1] - offsets[0]))
            offsets -= offsets[0]
            if heap is None:
                rows = np.empty((span.num, *column.shape), column.dtype)
                decode(offsets, blocks, rows)
            else:
                offsets += heap.append(blocks)
                rows = np.empty(span.num, BLOCK)
                rows["begin"], rows["end"] = offsets[:-1], offsets[1:]
        except ValueError:
            raise find_damage(replace(self.origin, entries=[self._entries[span.shard]])) from None
        _place(rows, span, out)

    def _read(self, opened: _Opened, offset: int, num_bytes: int) -> NDArray[np.uint8]:
        """Return bytes of the file, in the scratch memory where they fit."""
        out = self._scratch[:num_bytes] if num_bytes <= _SCRATCH_BYTES else np.empty(num_bytes, np.uint8)
        self._fill(opened, offset, [out.data], num_bytes)
        return out

    def _fill(self, opened: _Opened, offset: int, views: list[memoryview], num_bytes: int) -> None:
        """Read `num_bytes` bytes of the file into `views`, one after another."""
        self.num_bytes += num_bytes
        while num_bytes:
            try:
                got = os.preadv(opened.descriptor, views[:_MOST_VIEWS], offset)
            except OSError as error:
                raise os_fault(error, opened.path) from None
            if not got:
                raise RunError(f"{opened.path}: it was truncated; restore the file from a copy")
            num_bytes, offset = num_bytes - got, offset + got
            views = _after(views, got) if num_bytes else []

    def _file(self, number: int) -> _Opened:
        opened = self._open.get(number)
        if opened is not None:
            self._open.move_to_end(number)
            return opened
        share = _OPEN_FILES.share()
        while len(self._open) >= share:
            self._close_one()
        entry = self._entries[number]
        try:
            places = _checked_places(self._root, entry, self._schema)
            path = backend(self._root).local(entry.path, entry.num_bytes, entry.digest)
            opened = _Opened(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC), places)
        except FileNotFoundError:
            raise RunError(f"{self._root / entry.path}: the shard is missing; restore it from a copy") from None
        except OSError as error:
            raise os_fault(error, Path(entry.path)) from None
        _OPEN_FILES.count(1, not self._open)
        self._open[number] = opened
        return opened

    def _close_one(self) -> None:
        """Close the file that wasn't used for the longest time."""
        os.close(self._open.popitem(last=False)[1].descriptor)
        _OPEN_FILES.count(-1, -(not self._open))


class _Job(NamedTuple):
    """One column of a copy."""

    column: Column
    size: int  # bytes of a row in the file
    out: Array
    rows: Array  # the scratch memory, as rows
    straight: memoryview | None  # the bytes of `out`, where rows lie there as they do in the file
    heap: Heap | None

    @staticmethod
    def of(column: Column, out: Array, scratch: NDArray[np.uint8], heap: Heap | None) -> _Job:
        size = column.row_bytes
        num = len(scratch) // size
        rows = scratch[: num * size].view(column.dtype).reshape(num, *column.shape)
        is_alike = column.codec == RAW and out.dtype == column.dtype and out.flags.c_contiguous and out.size > 0
        return _Job(column, size, out, rows, out.data.cast("B") if is_alike else None, heap)


class _Span(NamedTuple):
    """Rows that are read at once: `num` from `first` on."""

    shard: int
    first: int
    num: int
    target: int  # of the first row
    runs: tuple[Array, Array, Array] | None  # source [N] ascending, target [N], count [N] of the wanted ones; None: all are


def _spans(runs: Runs, most: int, hole: int) -> Iterator[_Span]:
    """Yield what is read at once: runs of one shard with holes of at most `hole` rows between, and at most `most` rows.

    If `hole` is negative, each run is read by itself.
    """
    shard, source, target, count = (getattr(runs, name) for name in ("shard", "source", "target", "count"))
    if len(count) and (count.max() > most or count.min() < 1):
        shard, source, target, count = _cut(shard, source, target, count, most)
    if not len(count):
        return
    order = np.lexsort((source, shard))
    shard, source, target, count = shard[order], source[order], target[order], count[order]
    if hole < 0:
        yield from map(_Span, shard.tolist(), source.tolist(), count.tolist(), target.tolist(), repeat(None))
        return
    ends = source + count
    apart = shard * (int(ends.max()) + hole + 1)  # lays the shards behind one another
    reach = np.maximum.accumulate(apart + ends)  # runs may overlap
    far = np.flatnonzero(apart[1:] + source[1:] > reach[:-1] + hole) + 1
    begins = [0, *far.tolist()]
    shards, firsts, targets, counts = shard.tolist(), source.tolist(), target.tolist(), count.tolist()
    for begin, end in zip(begins, [*begins[1:], len(source)], strict=True):
        while begin < end:
            if end - begin == 1:
                yield _Span(shards[begin], firsts[begin], counts[begin], targets[begin], None)
                break
            limit, stop = apart[begin] + source[begin] + most, end
            if reach[end - 1] > limit:
                stop = begin + max(1, int(np.searchsorted(reach[begin:end], limit, side="right")))
            part, first = slice(begin, stop), firsts[begin]
            last = int(ends[part].max())
            wanted = None if stop - begin == 1 else (source[part], target[part], count[part])
            yield _Span(shards[begin], first, last - first, targets[begin], wanted)
            begin = stop


def _cut(shard: Array, source: Array, target: Array, count: Array, most: int) -> tuple[Array, Array, Array, Array]:
    """Cut long runs, and leave out empty ones."""
    pieces = -(-count // most)
    owner = np.repeat(np.arange(len(count)), pieces)
    skip = most * (np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    return shard[owner], source[owner] + skip, target[owner] + skip, np.minimum(count[owner] - skip, most)


def _place(rows: Array, span: _Span, out: Array) -> None:
    """Put the wanted ones of the rows that were read where they go."""
    if span.runs is None:
        out[span.target : span.target + span.num] = rows
        return
    source, target, count = span.runs
    if int(count.sum()) > 16 * len(count):
        for a, b, n in zip((source - span.first).tolist(), target.tolist(), count.tolist(), strict=True):
            out[b : b + n] = rows[a : a + n]
        return
    chosen, ends = ranges(source - span.first, count), target + count
    if np.array_equal(target[1:], ends[:-1]):
        out[target[0] : ends[-1]] = rows.take(chosen, 0)
    else:
        out[ranges(target, count)] = rows.take(chosen, 0)


def _after(views: list[memoryview], num_bytes: int) -> list[memoryview]:
    """Return what follows the first `num_bytes` of the views."""
    for i, view in enumerate(views):
        if num_bytes < len(view):
            return [view[num_bytes:], *views[i + 1 :]]
        num_bytes -= len(view)
    return []


def ranges(first: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return first[0], first[0] + 1, ... (count[0] of them), first[1], ..."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    rows: NDArray[np.int64] = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - count), count)
    return rows


@lru_cache(maxsize=1 << 14)
def _checked_places(root: Location, entry: ShardEntry, schema: _Schema) -> Mapping[str, tuple[int, int]]:
    """Return where each column's values lie, of a shard that is what the manifest says; shards never change."""
    with open_shard(root, entry, schema.spec):
        path = backend(root).local(entry.path, entry.num_bytes, entry.digest)
        return _places(path, {column.name: column for column in schema.spec.columns()})


def _places(path: Path, columns: Mapping[str, Column]) -> dict[str, tuple[int, int]]:
    """Return where each column's values lie in a sound shard."""
    out: dict[str, tuple[int, int]] = {}
    with pa.memory_map(str(path), "r") as file:
        base = file.read_buffer(1).address
        batch = pa.ipc.open_file(file).get_batch(0)
        for name, column in columns.items():
            array: Any = batch.column(name)
            if column.codec == RAW:
                values = array.storage.values if column.shape else array
                out[name] = (values.buffers()[1].address - base, 0)
            else:
                _, offsets, data = array.buffers()
                out[name] = (offsets.address - base, data.address - base if data is not None else 0)
                out[f"{name}:bytes"] = (data.size if data is not None else 0, 0)
    return out

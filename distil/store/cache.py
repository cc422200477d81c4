"""Tables that stay in memory: they grow by the episodes that they lack, and the processes of a node can share one copy.

A shared table is a folder of files in RAM (/dev/shm): one file an array, and an index from the digest of an episode's steps
to its first row, so that what is found is always the right content. Rows are only ever added behind those of the index,
under a lock. Each user holds a shared lock on the folder for as long as it lives; the last one to leave removes the files.
After a kill no process holds the lock, and the next process to look for a shared table removes what is left.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from distil.errors import RunError
from distil.store.files import os_fault
from distil.store.heap import Area, Heap, SpaceError
from distil.store.rows import RowReader
from distil.store.sampler import Sampler, whole_episodes
from distil.store.snapshot import Snapshot
from distil.store.table import Table
from distil.store.weights import window_weights
from distil.store.windows import Layout, place

_RECORD = np.dtype([("digest", "V16"), ("value", np.int64)])
_SPARE_BYTES = 64 << 20  # of /dev/shm that others may want


class HeldTable:
    """A table of one layout, in memory of this process alone or shared by those that hold the same folder."""

    def __init__(self, layout: Layout, folder: Path | None = None) -> None:
        """Start empty, or with what others have put into the shared `folder`, which must exist and be locked by the caller."""
        self._layout, self._folder = layout, folder
        self._areas = {name: Area(self._file(name)) for name in Table.needs(layout)}
        self._end = 0  # row after the last gap
        self._heap_bytes = dict.fromkeys(layout.compressed, 0)
        self._private_heaps = {name: Heap() for name in layout.compressed} if folder is None else {}
        self._rows: dict[bytes, int] = {}  # digest of an episode's steps -> row of its first transition
        self.bytes_read = 0

    @property
    def is_shared(self) -> bool:
        """Whether other processes may hold it too."""
        return self._folder is not None

    @property
    def num_bytes(self) -> int:
        """Bytes held."""
        return self._end * self._layout.row_bytes + sum(self._heap_bytes.values())

    def share_lacking(self, snapshot: Snapshot) -> float:
        """Return which part of the transitions of `snapshot` isn't held yet."""
        lacks = np.array([digest not in self._rows for digest in _digests(snapshot)], np.bool_)
        return float(snapshot.episodes.length[lacks].sum() / max(1, snapshot.num_transitions))

    def sampler(self, snapshot: Snapshot) -> Sampler:
        """Return a sampler of `snapshot`, after the episodes that are missing have been read."""
        pieces = whole_episodes(snapshot, self._layout.windows)
        with self._exclusive():
            self._look()
            self._add(snapshot)
        first = np.array([self._rows[digest] for digest in _digests(snapshot)], np.int64)
        reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)
        weights = window_weights(snapshot, pieces, np.arange(len(pieces)), reader)
        self.bytes_read += reader.num_bytes
        table = self._table(writeable=False)
        table.origin = reader.origin
        return Sampler.over(table, first, pieces, weights)

    def _add(self, snapshot: Snapshot) -> None:
        digests = _digests(snapshot)
        new = {digest: i for i, digest in enumerate(digests) if digest not in self._rows}
        if not new:
            return
        chosen = np.fromiter(new.values(), np.int64)
        pieces = whole_episodes(snapshot, self._layout.windows).take(chosen)
        start = max(0, self._end - self._layout.windows.gap)  # the gap behind the last piece is the one before the next
        places = place(pieces, self._layout.windows, start)
        for name, (dtype, shape) in Table.needs(self._layout).items():
            self._areas[name].grow(places.end * dtype.itemsize * int(np.prod(shape, dtype=object)))
        begin, self._end = self._end, places.end
        reader = RowReader(snapshot.path, snapshot.entries, snapshot.spec)
        table = self._table(writeable=True)
        table.fill(reader, pieces, places, begin)
        self._heap_bytes = {name: heap.used for name, heap in table.heaps.items()}
        self._rows.update(zip(new, places.first.tolist(), strict=True))
        self.bytes_read += reader.num_bytes
        self._publish()

    def _table(self, *, writeable: bool) -> Table:
        arrays = {
            name: self._areas[name].array(dtype, (self._end, *shape), writeable=writeable)
            for name, (dtype, shape) in Table.needs(self._layout).items()
        }
        heaps = self._private_heaps or {name: Heap(self._file(f"{name}.heap"), used) for name, used in self._heap_bytes.items()}
        return Table(self._layout, arrays, heaps)

    def _file(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{name.replace('/', '%')}.rows"

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if self._folder is None:
            yield
            return
        try:
            file = open(self._folder / "build", "w")  # noqa: SIM115 - closed below
        except OSError as error:
            raise SpaceError(str(os_fault(error, self._folder))) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _look(self) -> None:
        """Take over what others have added."""
        if self._folder is None or not (self._folder / "index.npy").exists():
            return
        records = np.load(self._folder / "index.npy", allow_pickle=False)
        head = 1 + len(self._layout.compressed)
        values = records["value"].tolist()
        self._end = values[0]
        self._heap_bytes = dict(zip(self._layout.compressed, values[1:head], strict=True))
        self._rows = dict(zip([digest.tobytes() for digest in records["digest"][head:]], values[head:], strict=True))

    def _publish(self) -> None:
        if self._folder is None:
            return
        values = [self._end, *self._heap_bytes.values(), *self._rows.values()]
        records = np.zeros(len(values), _RECORD)
        records["value"] = values
        records["digest"][len(values) - len(self._rows) :] = np.frombuffer(b"".join(self._rows), "V16")
        temporary = self._folder / "index.tmp.npy"
        try:
            np.save(temporary, records, allow_pickle=False)
        except OSError as error:
            raise SpaceError(str(os_fault(error, temporary))) from None
        temporary.replace(self._folder / "index.npy")


class SharedFolder:
    """A folder below `root` that its users share, and that goes with the last of them."""

    def __init__(self, root: Path, name: str) -> None:
        """Join the users of `root/name`, or make it; OSError if the place isn't safe or can't be written."""
        _private_folder(root)
        sweep(root)
        self.path = root / name
        while True:
            self.path.mkdir(mode=0o700, exist_ok=True)
            try:
                descriptor = os.open(self.path / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # the last user left in between
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_same(descriptor, self.path / "users"):
                break
            os.close(descriptor)
        self.close = weakref.finalize(self, _leave, descriptor, self.path)


def shared_name(snapshot: Snapshot, layout: Layout) -> str:
    """Return the name of the folder that samples of this layout from this store share."""
    facts = [str(snapshot.path.resolve()), snapshot.spec.to_json() | {"env": {}}, layout.windows.__dict__, layout.is_packed]
    return xxhash.xxh3_128_hexdigest(json.dumps(facts, sort_keys=True).encode())


def has_space(root: Path, num_bytes: int) -> bool:
    """Return whether shared memory has room for `num_bytes` more."""
    return shutil.disk_usage(root).free > num_bytes + _SPARE_BYTES


def sweep(root: Path) -> None:
    """Remove the folders below `root` whose users are all gone."""
    for path in root.iterdir():
        try:
            descriptor = os.open(path / "users", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # being made, or gone already
        _leave(descriptor, path)


def _leave(descriptor: int, path: Path) -> None:
    """Remove the folder `path` if no other process holds the lock of its open file `descriptor`, and close that."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same(descriptor, path / "users"):
            gone = path.with_name(f".{secrets.token_hex(8)}")  # a process that waits for the lock finds another folder, or none
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    except OSError:
        pass  # in use, or gone already
    finally:
        os.close(descriptor)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _private_folder(root: Path) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.lstat(root)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise RunError(f"{root}: belongs to another user, or others may write there; remove it")


def _digests(snapshot: Snapshot) -> list[bytes]:
    raw: NDArray[np.void] = np.ascontiguousarray(snapshot.episodes.digest)
    return [digest.tobytes() for digest in raw]

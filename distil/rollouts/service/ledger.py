"""Labels by observation: in memory, and on disk as they arrive, so that none is paid for twice.

A file is a line of JSON (the action's shape and type) and records of one size: key, whether there is an answer, action. An
incomplete last record is ignored. Each process writes its own file and reads the files of all.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from distil.durable import fsync_folder, make_folders, write_all
from distil.errors import RunError
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations

_KEY_BYTES = 16
_FIRST_ROWS = 1024


def row_keys(observations: Observations) -> list[bytes]:
    """Return the identity of each of N observations: the xxh3-128 of its bytes, leaves in the order of their names."""
    columns = [np.ascontiguousarray(observations[name]) for name in sorted(observations)]
    flat = [column.reshape(len(column), -1).view(np.uint8) for column in columns]
    joined = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
    size, digest = joined.shape[1], xxhash.xxh3_128_digest
    view = memoryview(np.ascontiguousarray(joined).data).cast("B")
    return [digest(view[start : start + size]) for start in range(0, len(view), size)]


class Memory:
    """Labels by key: keeps at least the newest `limit`, and at most twice that number."""

    def __init__(self, action: Leaf, limit: int) -> None:
        self._leaf, self._limit = action, limit
        self._new, self._old = _Table(action), _Table(action)

    def __len__(self) -> int:
        return len(self._new.rows) + len(self._old.rows)

    def get(self, keys: Sequence[bytes], labels: Labels) -> NDArray[np.int64]:
        """Write known labels into `labels` [N]; return the rows that are not known."""
        found = np.fromiter((self._new.rows.get(key, -1) for key in keys), np.int64, len(keys))
        self._new.copy(found, labels)
        missing = np.flatnonzero(found < 0)
        if len(missing) and self._old.rows:
            found = np.full(len(keys), -1, np.int64)
            found[missing] = [self._old.rows.get(keys[row], -1) for row in missing.tolist()]
            self._old.copy(found, labels)
            missing = missing[found[missing] < 0]
        return missing

    def put(self, keys: Sequence[bytes], labels: Labels) -> None:
        """Remember labels [N]."""
        self._new.add(keys, labels)
        if len(self._new.rows) >= self._limit:
            self._old, self._new = self._new, _Table(self._leaf)


class _Table:
    def __init__(self, action: Leaf) -> None:
        self.rows: dict[bytes, int] = {}
        self._num = 0
        self._actions = np.zeros((_FIRST_ROWS, *action.shape), action.dtype)
        self._mask = np.zeros(_FIRST_ROWS, np.bool_)

    def add(self, keys: Sequence[bytes], labels: Labels) -> None:
        end = self._num + len(keys)
        while end > len(self._mask):
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)])
            self._mask = np.concatenate([self._mask, np.zeros_like(self._mask)])
        self._actions[self._num : end], self._mask[self._num : end] = labels.actions, labels.mask
        self.rows.update(zip(keys, range(self._num, end), strict=True))
        self._num = end

    def copy(self, found: NDArray[np.int64], labels: Labels) -> None:
        known = found >= 0
        labels.actions[known], labels.mask[known] = self._actions[found[known]], self._mask[found[known]]


class Ledger:
    """The files of one expert's labels in a folder.

    Args:
        folder: created if needed.
        action: the action space.
    """

    def __init__(self, folder: Path, action: Leaf) -> None:
        self._folder, self._leaf = folder, action
        action_type = np.dtype((np.dtype(action.dtype).newbyteorder("<"), action.shape))
        self._record = np.dtype([("key", f"V{_KEY_BYTES}"), ("mask", np.uint8), ("action", action_type)])
        self._header = json.dumps({"format": 1, "shape": list(action.shape), "dtype": action.dtype}).encode() + b"\n"
        self._file: int | None = None

    def read_into(self, memory: Memory) -> int:
        """Load all labels on disk into memory; return the number of records. Files of other action spaces are skipped."""
        num = 0
        for path in sorted(self._folder.glob("*.labels")):
            data = path.read_bytes()
            if not data.startswith(self._header):
                continue
            whole = (len(data) - len(self._header)) // self._record.itemsize
            records = np.frombuffer(data, self._record, count=whole, offset=len(self._header))
            actions = records["action"].astype(self._leaf.dtype)
            memory.put([key.tobytes() for key in records["key"]], Labels(actions=actions, mask=records["mask"] != 0))
            num += whole
        return num

    def append(self, keys: Sequence[bytes], labels: Labels) -> None:
        """Write labels [N]; they survive a kill of this process. RunError if they can't be written."""
        records = np.zeros(len(keys), self._record)
        records["key"] = np.frombuffer(b"".join(keys), f"V{_KEY_BYTES}")
        records["mask"], records["action"] = labels.mask, labels.actions
        try:
            if self._file is None:
                make_folders(self._folder)
                path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.labels"
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                fsync_folder(self._folder)
                write_all(self._file, self._header)
            write_all(self._file, records.tobytes())
        except OSError as error:
            self.close()  # later labels must not follow an incomplete record: they get a new file
            fix = "free some space, or set rollouts.service.keep=false"
            raise RunError(f"{self._folder}: cannot keep labels there: {error.strerror}; {fix}") from None

    def close(self) -> None:
        """Flush the file to disk and close it."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # the system keeps what was written
                os.fsync(file)
            os.close(file)


def empty(action: Leaf, num: int) -> Labels:
    """Return `num` empty labels, to be written into."""
    actions: Array = np.zeros((num, *action.shape), action.dtype)
    return Labels(actions=actions, mask=np.zeros(num, np.bool_))

"""What a manifest says about a shard, and the errors for shards that aren't what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from distil.errors import RunError
from distil.store.backend import backend
from distil.store.location import Location

FIX = "run `distil store verify`, then restore the file from a copy or read an older snapshot"
_PATH = re.compile(r"data/[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.arrow")
_DIGEST = re.compile(r"[0-9a-f]{32}")
READ_FAULTS = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
    AttributeError,
)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A sealed shard as manifests list it."""

    path: str  # relative to the store: data/NAME.arrow
    num_bytes: int
    num_rows: int
    num_episodes: int
    num_transitions: int
    digest: str  # xxh3-128 of the file, hex

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `from_json` reads it back."""
        return dict(self.__dict__)  # asdict() is ten times slower, and a commit does this for every shard

    @staticmethod
    def from_json(data: Mapping[str, Any], row_bytes: int) -> ShardEntry:
        """Return the entry, or ValueError when its path leaves data/ or its counts can't be true."""
        path, digest = data["path"], data["digest"]
        names = ("num_bytes", "num_rows", "num_episodes", "num_transitions")
        counts = {name: data[name] for name in names}
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise ValueError(f"shard path {path!r} isn't a file in data/")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{path} has no valid digest")
        if any(type(count) is not int or not 0 < count < 1 << 62 for count in counts.values()):
            raise ValueError(f"{path} has counts that can't be true")
        entry = ShardEntry(path=path, digest=digest, **counts)
        if entry.num_rows != entry.num_transitions + entry.num_episodes or entry.num_rows * row_bytes > entry.num_bytes:
            raise ValueError(f"{path} has counts that can't be true")
        return entry


def check_columns(columns: Mapping[str, list[Any]], row_bytes: int) -> None:
    """Raise ValueError unless `ShardEntry.from_json` accepts each row of columns of one length; a tenth of its time."""
    counts = [columns[name] for name in ("num_bytes", "num_rows", "num_episodes", "num_transitions")]
    if set(map(type, columns["path"])) | set(map(type, columns["digest"])) == {str} and set(map(type, chain(*counts))) == {int}:
        with suppress(OverflowError):
            num_bytes, num_rows, num_episodes, num_transitions = table = np.array(counts, np.int64)
            can_be = (table > 0) & (table < 1 << 62)
            can_be &= (num_rows == num_transitions + num_episodes) & (num_rows <= num_bytes // row_bytes)
            if can_be.all() and all(map(_PATH.fullmatch, columns["path"])) and all(map(_DIGEST.fullmatch, columns["digest"])):
                return
    for row in zip(*columns.values(), strict=True):
        ShardEntry.from_json(dict(zip(columns, row, strict=True)), row_bytes)


def check_size(root: Location, entry: ShardEntry) -> None:
    """Raise RunError unless the file has the size that `entry` says; FileNotFoundError if there is none."""
    size = backend(root).size(entry.path)
    if size != entry.num_bytes:
        raise RunError(f"{root / entry.path}: {size} bytes, not {entry.num_bytes}: truncated or altered; {FIX}")


class MissingError(RunError):
    """A shard isn't there."""


def missing(where: Location) -> MissingError:
    """Return the error for a shard that isn't there."""
    return MissingError(f"{where}: the shard is missing; {FIX}")


def damaged(where: Location, error: BaseException) -> RunError:
    """Return the error for a shard that can't be read because of `error`, one of `READ_FAULTS`."""
    detail = str(error).split("\n", 1)[0][:200] or type(error).__name__
    return RunError(f"{where}: damaged ({detail}); {FIX}")

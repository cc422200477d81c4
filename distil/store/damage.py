"""Finding the compressed row that can't be decoded: samplers decode rows without knowing their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from distil.errors import RunError
from distil.store.codec import RAW, decode_at
from distil.store.entry import FIX
from distil.store.location import Location
from distil.store.schema import StoreSpec
from distil.store.shard import ShardEntry, open_shard, read_index


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The shards that rows were read from."""

    root: Location
    entries: Sequence[ShardEntry]
    spec: StoreSpec


def find_damage(origin: Origin) -> RunError:
    """Return the error that names the first row that can't be decoded: its file, column, episode and step."""
    for entry in origin.entries:
        try:
            found = _find(origin, entry)
        except RunError as error:
            return error
        if found is not None:
            return RunError(f"{origin.root / entry.path}: damaged ({found}); {FIX}")
    return RunError(f"{origin.root}: a compressed row was damaged in memory, the files are intact; start again")


def _find(origin: Origin, entry: ShardEntry) -> str | None:
    index = read_index(origin.root, entry)
    with open_shard(origin.root, entry, origin.spec) as shard:
        for column in origin.spec.columns():
            if column.codec == RAW:
                continue
            offsets, data = shard.frames(column.name)
            bounds, out = offsets.tolist(), np.empty((1, *column.shape), column.dtype)
            for row, (begin, end) in enumerate(pairwise(bounds)):
                try:
                    decode_at([begin], [end], data, out)
                except ValueError as error:
                    first = index.column("first_row").to_numpy()
                    at = int(np.searchsorted(first, row, side="right")) - 1
                    return f"{error}: {column.name} of episode {index.column('uid')[at]}, step {row - int(first[at])}"
    return None

"""Verification: every manifest, and every byte of the shards of one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import xxhash

from distil.errors import InputError, RunError
from distil.store.entry import check_size
from distil.store.location import Location
from distil.store.manifest import Manifest, read_manifest
from distil.store.schema import StoreSpec
from distil.store.segments import Segment
from distil.store.shard import Shard, ShardEntry, file_digest, open_shard, read_index
from distil.types import Array


def find_faults(root: Location, spec: StoreSpec, store: str, versions: Sequence[int], version: int | None) -> list[str]:
    """Return one line a fault, each naming its file.

    Args:
        root: where the store lies.
        spec: the store's spec.
        store: its uuid.
        versions: those that it has.
        version: whose shards to read; None: the newest one whose manifest is intact.
    """
    faults, known, chosen = list[str](), dict[str, Segment](), Manifest(version=0, store=store)
    for number in versions:
        try:
            manifest = read_manifest(root, number, store=store, row_bytes=spec.min_row_bytes, known=known).load(root)
        except FileNotFoundError:
            continue  # dropped meanwhile
        except (RunError, InputError) as error:
            faults.append(str(error))
            continue
        if version in (None, number):
            chosen = manifest
    faults = list(dict.fromkeys(faults))  # many versions may name one segment
    owners: dict[str, str] = {}
    for entry in chosen.entries:
        try:
            check_shard(root, spec, entry, owners)
        except RunError as error:
            faults.append(str(error))
    faults += [fault for segment in chosen.segments for fault in _index_faults(root, segment)]
    return list(dict.fromkeys(faults))


def _index_faults(root: Location, segment: Segment) -> list[str]:
    """Return what is wrong with a segment's index of episodes: it is what the shards' footers have."""
    try:
        index = segment.index
        if index is None:
            return []
        footers = pa.Table.from_batches([read_index(root, entry) for entry in segment.entries])
    except RunError as error:
        return [str(error)]
    if footers.equals(pa.Table.from_batches([index])):
        return []
    return [f"{root / segment.keys[1]}: it isn't what the shards' footers have; remove it: it only saves time"]


def check_shard(root: Location, spec: StoreSpec, entry: ShardEntry, owners: dict[str, str]) -> None:
    """Read every byte of a shard; RunError with the fault that it finds.

    Args:
        root: where the store lies.
        spec: the store's spec.
        entry: which shard.
        owners: uid -> shard of the episodes seen so far; those of this shard are added.
    """
    where = root / entry.path
    index = read_index(root, entry)
    if digest_of(root, entry) != entry.digest:
        raise RunError(f"{where}: altered (its xxh3-128 isn't the manifest's); restore it from a copy")
    lengths = index.column("length").to_numpy()
    with open_shard(root, entry, spec) as shard:
        rows = [(shard.column(name)) for name in ("episode", "step")]
        starts = index.column("first_row").to_numpy()
        numbers = np.repeat(np.arange(len(lengths)), lengths + 1)
        if not (np.array_equal(rows[0], numbers) and np.array_equal(rows[1], np.arange(entry.num_rows) - starts[numbers])):
            raise RunError(f"{where}: its rows don't match the index of its episodes; restore it from a copy")
    for uid in index.column("uid").to_pylist():
        other = owners.setdefault(uid, entry.path)
        if other != entry.path:
            raise RunError(f"{where}: episode {uid} is also in {other}; restore the manifest from a copy")


def check_steps(root: Location, spec: StoreSpec, entry: ShardEntry) -> None:
    """Compare each episode of a shard with its own digest; RunError if one is altered.

    This is for shards whose own digest nobody vouches for; for others it is included in that.
    """
    index = read_index(root, entry).select(["uid", "first_row", "length", "digest"]).to_pydict()
    with open_shard(root, entry, spec) as shard:
        for uid, first, length, expected in zip(*index.values(), strict=True):
            if episode_digest(shard, spec, first, length) != expected:
                raise RunError(f"{root / entry.path}: the steps of episode {uid} are altered; restore it from a copy")


def episode_digest(shard: Shard, spec: StoreSpec, first: int, length: int, changed: Mapping[str, Array] | None = None) -> bytes:
    """Return the xxh3-128 of an episode's steps, wherever they lie: what the index of episodes holds.

    Args:
        shard: where the episode is.
        spec: the store's spec.
        first: the episode's first row.
        length: its actions T.
        changed: name -> rows [T+1, ...] that replace the shard's.
    """
    digest = xxhash.xxh3_128()
    for column in spec.columns():
        if column.name != "episode":
            rows = (changed or {}).get(column.name)
            digest.update((shard.rows(column.name, first, length + 1) if rows is None else rows).data)
    for info in shard.infos(first, length + 1) if spec.infos else ():
        digest.update(info.encode() + b"\n")
    return digest.digest()


def digest_of(root: Location, entry: ShardEntry) -> str:
    """Return the xxh3-128 of a shard's bytes as they are now; RunError if they can't be read."""
    try:
        check_size(root, entry)
        return file_digest(root, entry)
    except FileNotFoundError:
        raise RunError(f"{root / entry.path}: the shard is missing; restore it from a copy") from None

"""Verification: every manifest, and every byte of the shards of one version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distil.errors import RunError
from distil.store.files import os_fault
from distil.store.manifest import Manifest, read_manifest
from distil.store.schema import StoreSpec
from distil.store.shard import ShardEntry, file_digest, open_shard, read_index


def find_faults(root: Path, spec: StoreSpec, store: str, versions: Sequence[int], version: int | None) -> list[str]:
    """Return one line a fault, each naming its file.

    Args:
        root: the store's folder.
        spec: the store's spec.
        store: its uuid.
        versions: those that it has.
        version: whose shards to read; None: the newest one whose manifest is intact.
    """
    faults, manifests = [], dict[int, Manifest]()
    for number in versions:
        try:
            manifests[number] = read_manifest(root, number, store=store, row_bytes=spec.row_bytes)
        except RunError as error:
            faults.append(str(error))
    chosen = manifests.get(version) if version is not None else manifests[max(manifests)] if manifests else None
    owners: dict[str, str] = {}
    for entry in chosen.entries if chosen else ():
        try:
            _check(root, spec, entry, owners)
        except RunError as error:
            faults.append(str(error))
    return faults


def _check(root: Path, spec: StoreSpec, entry: ShardEntry, owners: dict[str, str]) -> None:
    path = root / entry.path
    index = read_index(root, entry)
    try:
        if file_digest(path) != entry.digest:
            raise RunError(f"{path}: altered (its xxh3-128 isn't the manifest's); restore it from a copy")
    except OSError as error:
        raise os_fault(error, path) from None
    lengths = index.column("length").to_numpy()
    with open_shard(root, entry, spec) as shard:
        rows = [(shard.column(name)) for name in ("episode", "step")]
        starts = index.column("first_row").to_numpy()
        numbers = np.repeat(np.arange(len(lengths)), lengths + 1)
        if not (np.array_equal(rows[0], numbers) and np.array_equal(rows[1], np.arange(entry.num_rows) - starts[numbers])):
            raise RunError(f"{path}: its rows don't fit the index of its episodes; restore it from a copy")
    for uid in index.column("uid").to_pylist():
        other = owners.setdefault(uid, entry.path)
        if other != entry.path:
            raise RunError(f"{path}: episode {uid} is also in {other}; restore the manifest from a copy")

"""The versions of a store over time: what each has, which episodes came between two, and dropping old ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from distil.errors import InputError
from distil.store.manifest import read_manifest
from distil.store.pins import list_pins
from distil.store.store import Store
from distil.store.tags import list_tags
from distil.store.versions import bury_manifest, drop_manifest, restore_manifest


@dataclass(frozen=True, kw_only=True)
class VersionSummary:
    """A version, from its manifest alone."""

    version: int
    created_s: int  # Unix time
    message: str
    num_episodes: int
    num_transitions: int
    num_shards: int
    num_bytes: int
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Episodes that only one of two versions has, and those that have other steps under the same uid. All by uid."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def summaries(store: Store) -> list[VersionSummary]:
    """Return a summary of each version, oldest first."""
    tags = list_tags(store.path)
    out = []
    for version in store.versions():
        try:
            manifest = read_manifest(store.path, version, store=store.uuid, row_bytes=store.spec.min_row_bytes)
        except FileNotFoundError:
            continue  # dropped meanwhile
        names = tuple(tag.name for tag in tags if tag.version == version)
        facts = {"created_s": manifest.created_s, "message": manifest.message, **asdict(manifest.sums)}
        out.append(VersionSummary(version=version, tags=names, **facts))
    return out


def diff(store: Store, old: int | str | None, new: int | str | None = None) -> Difference:
    """Return what changed from version `old` to `new` (numbers, tags, or None for the newest)."""
    before, after = (store.snapshot(version).episodes for version in (old, new))
    had = dict(zip(before.uid.tolist(), before.digest.tolist(), strict=True))
    has = dict(zip(after.uid.tolist(), after.digest.tolist(), strict=True))
    return Difference(
        added=tuple(uid for uid in has if uid not in had),
        removed=tuple(uid for uid in had if uid not in has),
        changed=tuple(uid for uid in has if uid in had and had[uid] != has[uid]),
    )


def drop(store: Store, versions: Sequence[int]) -> None:
    """Forget versions. Readers that have one open keep it; the space of their shards comes back with the next `gc`.

    Args:
        store: the store.
        versions: which; InputError, and none is dropped, if one is the newest, is tagged, is needed by an unfinished run, or
            doesn't exist.
    """
    _check_unused(store, versions)
    for version in versions:
        drop_manifest(store.path, version)
    try:
        _check_kept(store, versions)  # a tag or pin may have come just now; one that comes later sees the mark
    except InputError:
        for version in versions:
            restore_manifest(store.path, version)
        raise
    for version in versions:
        bury_manifest(store.path, version)


def droppable(store: Store, keep: int) -> list[int]:
    """Return the versions that are neither tagged nor pinned nor among the `keep` newest (at least one)."""
    kept = {tag.version for tag in list_tags(store.path)} | {pin.version for pin in list_pins(store.path)}
    return [version for version in store.versions()[: -max(1, keep)] if version not in kept]


def _check_unused(store: Store, versions: Sequence[int]) -> None:
    there = store.versions()
    absent = np.setdiff1d(versions, there)
    if absent.size:
        raise InputError(f"{store.path}: no version {absent[0]}; nothing was dropped")
    if there and there[-1] in versions:
        raise InputError(f"{store.path}: version {there[-1]} is the newest, which is the store; nothing was dropped")
    _check_kept(store, versions)


def _check_kept(store: Store, versions: Sequence[int]) -> None:
    for tag in list_tags(store.path):
        if tag.version in versions:
            raise InputError(f"{store.path}: version {tag.version} is tagged {tag.name!r}; delete the tag first")
    for pin in list_pins(store.path):
        if pin.version in versions:
            raise InputError(
                f"{store.path}: version {pin.version} is needed by the unfinished run {pin.name} on {pin.host}; finish it, "
                f"delete its folder, or release it: distil store pins {store.path} --release {pin.name}"
            )

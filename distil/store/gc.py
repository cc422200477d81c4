"""Garbage collection: deletes old files that no version lists."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distil.store.backend import backend
from distil.store.manifest import read_manifest
from distil.store.pins import PINS, forget_stale_pins
from distil.store.segments import SEGMENTS, Segment, is_segment
from distil.store.storage import StoredFile
from distil.store.store import Store
from distil.store.versions import FOLDER, bury_manifest, dropped_versions

GRACE_S = 7 * 86_400.0
_SHARD = re.compile(r"data/[^./][^/]*\.arrow")
_TRASH = re.compile(r"data/\.([^/]+\.arrow)\.trash")
_TEMPORARY = re.compile(r"(?:.*/)?\.[^/]+\.[0-9a-f]{16}\.tmp")


@dataclass(frozen=True, kw_only=True)
class GcReport:
    """The result of a garbage collection."""

    deleted: tuple[str, ...]  # keys of shards
    num_bytes: int  # size of the deleted shards
    kept: tuple[str, ...]  # shards that no version lists, kept because they are too new
    restored: tuple[str, ...]  # shards in use that an interrupted collection had moved to the trash


@dataclass(frozen=True, kw_only=True)
class InUse:
    """The files that the versions of a store list."""

    shards: set[str]  # keys
    segments: set[str]  # keys


def referenced(store: Store) -> InUse:
    """Return the files that any version lists; RunError if a version can't be read."""
    known, paths = dict[str, Segment](), set[str]()
    for version in store.versions():
        with suppress(FileNotFoundError):  # dropped meanwhile
            manifest = read_manifest(store.path, version, store=store.uuid, row_bytes=store.spec.min_row_bytes, known=known)
            manifest.load(store.path)
            paths.update(entry.path for entry in manifest.tail)
    for segment in known.values():
        paths.update(segment.listing.columns["path"])
    return InUse(shards=paths, segments={key for segment in known.values() for key in segment.keys})


def collect_garbage(store: Store, *, grace_s: float = GRACE_S, dry_run: bool = False) -> GcReport:
    """Delete shards that no version lists.

    Readers that have such a shard mapped keep it. A commit that runs at the same time is safe: it touches its shards
    first, and what was touched within the grace period is never deleted.

    Args:
        store: the store.
        grace_s: how long a shard must have been left alone. Choose more than the longest time between sealing a shard and
            committing it (for a run: a round); less than two days only while nobody writes.
        dry_run: only report.
    """
    files, before_s = backend(store.path), time.time() - grace_s
    items = files.list("data")  # before the manifests are read: what is committed in between is then listed by them
    segments = files.list(SEGMENTS)
    wanted = referenced(store)
    restored = () if dry_run else restore_trash(store, items, wanted.shards, before_s)
    orphans = [item for item in items if _SHARD.fullmatch(item.key) and item.key not in wanted.shards]
    deleted = [item for item in orphans if item.modified_s < before_s]
    if not dry_run:
        deleted = [item for item in deleted if files.withdraw(item.key, older_than_s=before_s)]
        for item in segments:  # never touched after they are written, just before the version that names them
            if is_segment(item.key) and item.key not in wanted.segments and item.modified_s < before_s:
                files.delete(item.key)
        _tidy(store, before_s)
    gone = {item.key for item in deleted}
    return GcReport(
        deleted=tuple(sorted(gone)),
        num_bytes=sum(item.num_bytes for item in deleted),
        kept=tuple(sorted(item.key for item in orphans if item.key not in gone)),
        restored=restored,
    )


def restore_trash(store: Store, items: list[StoredFile], wanted: set[str], before_s: float) -> tuple[str, ...]:
    """Finish an interrupted collection: restore the shards that are in use, delete the others.

    Args:
        store: the store.
        items: the files in data/.
        wanted: shards that are in use.
        before_s: Unix time; files that were touched later count as in use.
    """
    files, restored = backend(store.path), []
    for item in items:
        match = _TRASH.fullmatch(item.key)
        if match is None:
            continue
        key = f"data/{match[1]}"
        if key in wanted or item.modified_s >= before_s:
            files.publish(files.staging() / item.key.removeprefix("data/"), key)
            restored.append(key)
        else:
            files.delete(item.key)
    return tuple(restored)


def _tidy(store: Store, before_s: float) -> None:
    """Remove the temporary files of killed processes and the manifests that a killed `drop` left behind."""
    files = backend(store.path)
    for folder in ("data", FOLDER, SEGMENTS, PINS, "tags", ".") if isinstance(store.path, Path) else ():
        for item in files.list(folder):
            if _TEMPORARY.fullmatch(item.key) and item.modified_s < before_s:
                files.delete(item.key)
    forget_stale_pins(store.path)
    for version, buried in dropped_versions(store.path):
        if not buried:
            bury_manifest(store.path, version)

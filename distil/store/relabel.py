"""New labels for stored episodes: their shards are rewritten, and a new version lists the rewritten ones.

A rewritten shard has the same episodes in the same order; only the columns `expert_action` and `labelled` differ. Its name
holds the original shard and the key of what was asked, so that a killed process's work is found again, and the digest of its
own content, so that a damaged one is never used.

Legend: T steps of an episode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from distil.errors import RunError
from distil.store.backend import backend
from distil.store.location import Location
from distil.store.manifest import Manifest
from distil.store.schema import INDEX_SCHEMA, MAX_UID_LENGTH, StoreSpec
from distil.store.shard import ShardEntry, open_shard, read_index, seal_shard
from distil.store.storage import StoredFile
from distil.store.store import Store
from distil.store.verify import digest_of, episode_digest
from distil.types import Array

_FILE = re.compile(r"data/(relabel-[0-9a-f]{32})-([0-9a-f]{32})(?:-r[0-9a-f]{8})?\.arrow")  # -r: renewed in an object store
_OPEN = re.compile(r"\.relabel-[0-9a-f]{32}-[0-9a-f]{16}\.open")
_SAME = ["uid", "first_row", "length"]


@dataclass(frozen=True, kw_only=True)
class EpisodeLabels:
    """New labels of one episode."""

    actions: Array  # [T, ...] in the action space's dtype; zeros where `labelled` is 0
    labelled: Array  # [T] uint8
    source: str  # the new source of the episode; see `labelled_source`


def labelled_source(source: str, expert: str) -> str:
    """Return the source of an episode after `expert` has labelled it: it ends with the expert's name."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in expert)
    by = f"+expert:{printable}"[:MAX_UID_LENGTH]
    return source if f"+{source}".endswith(by) else source[: MAX_UID_LENGTH - len(by)] + by


def is_rewritten(key: str) -> bool:
    """Return whether a file of a store is a rewritten shard, whether or not a version lists it."""
    return _FILE.fullmatch(key) is not None


def is_being_rewritten(name: str) -> bool:
    """Return whether a file in data/ is an unfinished rewritten shard, whose writer may be dead."""
    return _OPEN.fullmatch(name) is not None


def rewritten_from(entry: ShardEntry, key: str, items: Sequence[StoredFile]) -> tuple[StoredFile, ...]:
    """Return the files that were made from the shard `entry` under `key`, including damaged ones."""
    stem = _stem(entry, key)
    return tuple(item for item in items if (match := _FILE.fullmatch(item.key)) and match[1] == stem)


def find_rewritten(root: Location, entry: ShardEntry, items: Sequence[StoredFile]) -> ShardEntry | None:
    """Return the first intact one of `items` (see `rewritten_from`), after reading all of it; None if there is none.

    From now on `gc` keeps it for its grace period.
    """
    for item in sorted(items, key=lambda item: item.key):
        match = _FILE.fullmatch(item.key)
        assert match is not None
        try:
            path = backend(root).touch(item.key, item.num_bytes)
        except FileNotFoundError:
            continue  # collected a moment ago
        found = replace(entry, path=path, num_bytes=item.num_bytes, digest=match[2])
        if digest_of(root, found) == found.digest:
            ours, theirs = (read_index(root, shard).select(_SAME) for shard in (entry, found))
            if ours.equals(theirs):
                return found
    return None


def require_intact(root: Location, entry: ShardEntry) -> None:
    """Raise RunError if a shard has changed since it was sealed: a copy would get a valid digest of the damaged data."""
    if digest_of(root, entry) != entry.digest:
        raise RunError(f"{root / entry.path}: altered; restore it from a copy, then label again")


def rewrite_shard(
    root: Location, spec: StoreSpec, entry: ShardEntry, key: str, labels: Mapping[str, EpisodeLabels]
) -> ShardEntry:
    """Rewrite a shard with other labels and return the new entry, which no version lists yet.

    Args:
        root: the store's location.
        spec: the store's spec.
        entry: the shard; the caller has checked that it is intact (`require_intact`).
        key: identifies what was asked of whom; part of the file's name.
        labels: uid -> labels, of any of its episodes.

    Raises:
        RunError: the shard can't be read, or the disk refuses.
    """
    index = read_index(root, entry).to_pydict()
    with open_shard(root, entry, spec) as shard:
        columns = {name: shard.arrow(name) for name in spec.schema().names}
        changed = {name: shard.column(name).copy() for name in ("expert_action", "labelled")}
        facts = zip(index["uid"], index["first_row"], index["length"], strict=True)
        for i, (uid, first, length) in enumerate(facts):
            if uid in labels:
                new, rows = labels[uid], slice(first, first + length + 1)
                changed["expert_action"][first : first + length] = new.actions
                changed["labelled"][first : first + length] = new.labelled
                index["num_labelled"][i], index["source"][i] = int(np.count_nonzero(new.labelled)), new.source
                ours = {name: values[rows] for name, values in changed.items()}
                index["digest"][i] = episode_digest(shard, spec, first, length, ours)
        batch = pa.RecordBatch.from_pydict(index, schema=INDEX_SCHEMA)
        return seal_shard(root, spec, columns | changed, batch, _stem(entry, key), by_content=True)


def read_labels(root: Location, spec: StoreSpec, entry: ShardEntry, uids: set[str]) -> dict[str, EpisodeLabels]:
    """Return a shard's labels of the episodes `uids`, by uid."""
    out = {}
    with open_shard(root, entry, spec) as shard:
        for uid, first, length, source in _rows(read_index(root, entry), "uid", "first_row", "length", "source"):
            if uid in uids:
                actions, labelled = (shard.rows(name, first, length).copy() for name in ("expert_action", "labelled"))
                out[uid] = EpisodeLabels(actions=actions, labelled=labelled, source=source)
    return out


def publish_rewritten(store: Store, rewritten: Mapping[ShardEntry, ShardEntry], message: str) -> int:
    """Publish a version in which rewritten shards replace their originals; return the newest version.

    Other processes may commit in the meantime. If one has merged a shard (`compact`), the merged shard is rewritten.

    Args:
        store: the store.
        rewritten: original shard -> rewritten one; if empty, nothing happens.
        message: a note for readers of the history.

    Raises:
        RunError: a shard is damaged or gone, the disk refuses; or another process has labelled the same episodes meanwhile.
            Then their labels stay, and the others' are published.
    """
    pending, overtaken = dict(rewritten), set[str]()
    while True:
        head = store.manifest()
        lost = {old: new for old, new in pending.items() if old not in head.entries}
        pending = {old: new for old, new in pending.items() if old not in lost}
        if lost:
            carried, late = _carry(store, head, lost)
            pending, overtaken = pending | carried, overtaken | late
        if not pending:
            version = head.version
            break
        pending = {old: _touched(store, new) for old, new in pending.items()}
        entries = tuple(pending.get(entry, entry) for entry in head.entries)
        if (snapshot := store.publish(head.listing(entries, message))) is not None:
            version = snapshot.version
            break
    if overtaken:
        raise RunError(
            f"{store.path}: another process has labelled {len(overtaken)} of the episodes meanwhile "
            f"(such as {min(overtaken)}), and its labels stay; label again if some are missing"
        )
    return version


def _carry(
    store: Store, head: Manifest, lost: Mapping[ShardEntry, ShardEntry]
) -> tuple[dict[ShardEntry, ShardEntry], set[str]]:
    """Give the shards of `head` the labels of episodes whose shards are no longer listed.

    Returns:
        Shard of `head` -> rewritten one, and the uids of episodes that got other labels in the meantime.
    """
    moved, overtaken, out = dict[str, tuple[Any, Any, ShardEntry]](), set[str](), {}
    for old, new in lost.items():
        before, after = (dict(_identities(store.index(entry))) for entry in (old, new))
        moved |= {uid: (before[uid], after[uid], new) for uid in before if before[uid] != after[uid]}
    for entry in head.entries:
        wanted = dict[ShardEntry, set[str]]()
        for uid, identity in _identities(store.index(entry)):
            if uid in moved and identity == moved[uid][0]:
                wanted.setdefault(moved[uid][2], set()).add(uid)
            elif uid in moved and identity != moved[uid][1]:
                overtaken.add(uid)
        labels = dict[str, EpisodeLabels]()
        for new, uids in wanted.items():
            labels |= read_labels(store.path, store.spec, new, uids)
        if labels:
            require_intact(store.path, entry)
            key = "carried " + " ".join(sorted(new.digest for new in wanted))
            out[entry] = rewrite_shard(store.path, store.spec, entry, key, labels)
    return out, overtaken


def _touched(store: Store, entry: ShardEntry) -> ShardEntry:
    try:
        return replace(entry, path=backend(store.path).touch(entry.path, entry.num_bytes))
    except FileNotFoundError:
        raise RunError(f"{store.path / entry.path}: the labels' shard is missing (gc?); label again") from None


def _stem(entry: ShardEntry, key: str) -> str:
    return f"relabel-{xxhash.xxh3_128_hexdigest(f'{entry.digest} {key}'.encode())}"


def _identities(index: pa.RecordBatch) -> Iterator[tuple[str, tuple[bytes, str]]]:
    """Yield (uid, the facts that labels change) of each episode."""
    for uid, digest, source in _rows(index, "uid", "digest", "source"):
        yield uid, (digest, source)


def _rows(index: pa.RecordBatch, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*index.select(list(names)).to_pydict().values(), strict=True)

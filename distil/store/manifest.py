"""Manifests: immutable, numbered versions, each a list of shards. The highest one is the store.

A manifest file lists the newest shards itself, and names the segments (`distil.store.segments`) that list the others. One
without segments is of format 1, which lists everything; older stores have no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import pyarrow as pa

from distil.errors import RunError
from distil.store.backend import backend, read_json
from distil.store.files import dump_json
from distil.store.location import Location
from distil.store.schema import FORMAT, check_format
from distil.store.segments import MAX_TAIL, Listing, Segment, Sums, fold, refer, write_segment
from distil.store.shard import ShardEntry
from distil.store.versions import has_version, manifest_key

SEGMENTED = 2  # the format of manifests that name segments
_FAULTS = (KeyError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A version of the store. Version 0, the empty store, has no file. Its shards are in the order of their commits."""

    version: int
    store: str  # the store's uuid
    segments: tuple[Segment, ...] = ()
    tail: tuple[ShardEntry, ...] = ()  # the shards after those of the segments
    message: str = ""
    created_s: int = 0  # Unix time
    claimed: Sums | None = field(default=None, repr=False)  # what its file says of its shards; None: it wasn't read from one

    @cached_property
    def entries(self) -> tuple[ShardEntry, ...]:
        """All shards; see `Segment.listing` for errors."""
        return (*chain.from_iterable(segment.entries for segment in self.segments), *self.tail)

    @property
    def listings(self) -> list[Listing]:
        """All shards, column by column; see `Segment.listing` for errors."""
        return [*(segment.listing for segment in self.segments), Listing.of(self.tail)]

    def column(self, name: str) -> list[Any]:
        """Return a field of `ShardEntry` of all shards."""
        return [*chain.from_iterable(listing.columns[name] for listing in self.listings)]

    @property
    def sums(self) -> Sums:
        """What its shards have together; of a file, as it says, without reading the segments."""
        return self.claimed or sum((segment.sums for segment in self.segments), Sums.of(self.tail))

    def then(self, added: Iterable[ShardEntry], message: str) -> Manifest:
        """Return the next version, with more shards; this costs the same however many there are."""
        return replace(self, version=self.version + 1, tail=(*self.tail, *added), message=message, claimed=None)

    def listing(self, entries: Iterable[ShardEntry], message: str) -> Manifest:
        """Return the next version, which lists `entries`. Segments at the beginning that still fit are kept."""
        rest, kept = tuple(entries), list[Segment]()
        for segment in self.segments:
            if rest[: segment.num_shards] != segment.entries:
                break
            kept.append(segment)
            rest = rest[segment.num_shards :]
        return replace(self, version=self.version + 1, segments=tuple(kept), tail=rest, message=message, claimed=None)

    def load(self, root: Location) -> Manifest:
        """Read the segments that aren't read yet, and return itself.

        Raises:
            FileNotFoundError: the version has been dropped, and `gc` was there.
            RunError: a segment is damaged or missing, or the sums don't fit.
        """
        try:
            sums = sum((segment.sums for segment in self.segments), Sums.of(self.tail))
        except RunError:
            if has_version(root, self.version):
                raise
            raise FileNotFoundError(f"{root / manifest_key(self.version)}") from None
        if self.claimed is not None and self.claimed != sums:
            where = root / manifest_key(self.version)
            raise RunError(
                f"{where}: refused: its totals don't match its shards; restore it from a copy or read an older snapshot"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the file's content."""
        data = {
            "format": SEGMENTED if self.segments else FORMAT,
            "store": self.store,
            "version": self.version,
            "message": self.message,
            "created_s": self.created_s,
            **self.sums.__dict__,
            "shards": [entry.to_json() for entry in self.tail],
        }
        return data | ({"segments": [[segment.name, segment.num_shards] for segment in self.segments]} if self.segments else {})


def difference(old: Manifest | None, new: Manifest) -> tuple[list[ShardEntry], list[ShardEntry]]:
    """Return the shards that only `old` (None: the empty store) and only `new` lists; segments of both aren't looked at."""
    old = old or Manifest(version=0, store=new.store)
    common = {segment.name for segment in old.segments} & {segment.name for segment in new.segments}
    had, has = (dict.fromkeys(_besides(manifest, common)) for manifest in (old, new))
    return [entry for entry in had if entry not in has], [entry for entry in has if entry not in had]


def _besides(manifest: Manifest, names: set[str]) -> Iterable[ShardEntry]:
    return chain(*(segment.entries for segment in manifest.segments if segment.name not in names), manifest.tail)


def read_manifest(
    root: Location, version: int, *, store: str, row_bytes: int, known: MutableMapping[str, Segment] | None = None
) -> Manifest:
    """Return a version's manifest; its segments aren't read yet.

    Args:
        root: where the store lies.
        version: which one; FileNotFoundError if there is none, or no longer.
        store: the uuid it must carry.
        row_bytes: the least that a row takes, which bounds the counts that can be true.
        known: name -> segment that other versions have named; those of this one are added.
    """
    key = manifest_key(version)
    data = read_json(root, key)
    if data.get("dropped") is True:
        raise FileNotFoundError(f"{root / key}")
    try:
        return _parse(data, version, store, row_bytes, root, {} if known is None else known)
    except _FAULTS as error:
        raise RunError(f"{root / key}: refused: {error}; restore it from a copy or read an older snapshot") from None


def _parse(
    data: Mapping[str, Any], version: int, store: str, row_bytes: int, root: Location, known: MutableMapping[str, Segment]
) -> Manifest:
    segmented = data["format"] == SEGMENTED and type(data["format"]) is int
    if segmented and "segments" not in data:
        raise ValueError("it is of format version 2, and names no segments")
    if not segmented:
        check_format(data["format"], "the manifest")
    if data["version"] != version or data["store"] != store:
        raise ValueError("it belongs to another version or another store")
    tail = tuple(ShardEntry.from_json(item, row_bytes) for item in data["shards"])
    if len({entry.path for entry in tail}) != len(tail):
        raise ValueError("it lists a shard twice")
    created_s, message = data["created_s"], data["message"]
    if type(created_s) is not int or not isinstance(message, str):
        raise ValueError("its date or message is of a wrong type")
    base = Manifest(version=version, store=store, tail=tail, message=message, created_s=created_s)
    if not segmented:
        return base
    found = [refer(item, root, store, row_bytes) for item in data["segments"]]
    segments = tuple(known.setdefault(segment.name, segment) for segment in found)
    claimed = Sums(**{name: data[name] for name in Sums.__dataclass_fields__})
    if len({segment.name for segment in found}) != len(found) or any(type(num) is not int for num in claimed.__dict__.values()):
        raise ValueError("it names a segment twice, or its sums make no sense")
    return replace(base, segments=segments, claimed=claimed)


def write_manifest(
    root: Location, manifest: Manifest, index: Callable[[Manifest], pa.RecordBatch | None] = lambda manifest: None
) -> Manifest:
    """Write a manifest durably and return it, dated and folded; FileExistsError when another writer took the version.

    Args:
        root: where the store lies.
        manifest: the new version.
        index: returns the index of the episodes of a manifest's shards, for a new segment; None: it gets none.
    """
    dated, written = replace(manifest, created_s=int(time.time())), None
    if len(dated.tail) > MAX_TAIL:
        num_kept = fold(dated.segments, len(dated.tail))
        new = replace(dated, segments=dated.segments[num_kept:])
        written = write_segment(root, dated.store, new.listings, index(new))
        dated = replace(dated, segments=(*dated.segments[:num_kept], written), tail=())
    content, key, files = dump_json(dated.to_json()), manifest_key(manifest.version), backend(root)
    try:
        files.put_if_absent(key, content)
    except FileExistsError:
        try:
            ours = files.get(key) == content  # the answer to an earlier try was lost on its way
        except FileNotFoundError:
            ours = False
        if not ours:
            for unused in written.keys if written is not None else ():
                files.delete(unused)
            raise
    return dated

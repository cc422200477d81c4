"""A store: a folder of sealed shards and the manifests that list them. Many writers append, readers see whole commits."""

from __future__ import annotations

import uuid
from collections.abc import KeysView, Sequence
from dataclasses import replace
from threading import RLock
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distil.errors import InputError, RunError
from distil.store.admission import Catalogue, Sieve, gone
from distil.store.backend import backend, read_json
from distil.store.files import dump_json
from distil.store.location import Location, location
from distil.store.manifest import Manifest, read_manifest, write_manifest
from distil.store.merge import merge_shards
from distil.store.pins import release_pins, set_pin
from distil.store.schema import FORMAT, StoreSpec, check_format, spec_from_json
from distil.store.shard import ShardEntry
from distil.store.shards import Shards
from distil.store.snapshot import Content, Snapshot
from distil.store.storage import InTheWayError
from distil.store.tags import Tag, read_tag, set_tag
from distil.store.verify import find_faults
from distil.store.versions import has_version, list_versions, manifest_key, newest_version
from distil.store.writer import ShardWriter

_HEADER = "store.json"


class Store:
    """An open store. Holds no lock and no open file: any number of processes may open it and commit."""

    def __init__(self, path: Location, spec: StoreSpec, store_uuid: str) -> None:
        """Hold a store that exists; use `create`, `open` or `open_or_create`."""
        self.path, self.spec, self.uuid = path, spec, store_uuid
        self.shards = Shards(path, spec)
        self._catalogue = Catalogue(self.shards)
        self._committing = RLock()
        self._newest = Manifest(version=0, store=store_uuid)  # of those that were read

    @classmethod
    def create(cls, path: str | Location, spec: StoreSpec) -> Self:
        """Make a new, empty store at `path` for episodes of `spec`; InputError if there is one already."""
        root = location(path)
        spec.check()
        header = dump_json({"format": FORMAT, "uuid": uuid.uuid4().hex, **spec.to_json()})
        try:
            backend(root).put_if_absent(_HEADER, header)
        except FileExistsError:
            raise InputError(f"{root}: a store already exists there; open it, or choose another folder") from None
        except InTheWayError:
            raise InputError(f"{root}: a file is in the way; choose another folder") from None
        return cls.open(root)

    @classmethod
    def open(cls, path: str | Location) -> Self:
        """Open an existing store; InputError if there is none, RunError if its header is damaged."""
        root = location(path)
        try:
            data = read_json(root, _HEADER)
        except FileNotFoundError:
            raise InputError(
                f"{root}: no store there (no {_HEADER}); collect demonstrations first, or check the path"
            ) from None
        check_format(data.get("format"), root)
        return cls(root, spec_from_json(data, str(root / _HEADER)), str(data.get("uuid")))

    @staticmethod
    def exists(path: str | Location) -> bool:
        """Return whether there is a store."""
        try:
            backend(location(path)).size(_HEADER)
        except FileNotFoundError:
            return False
        return True

    @classmethod
    def open_or_create(cls, path: str | Location, spec: StoreSpec) -> Self:
        """Open the store, or make it; InputError, naming both spaces, if the existing one is for others."""
        if not Store.exists(path):
            try:
                return cls.create(path, spec)
            except InputError:
                if not Store.exists(path):  # else another process made it meanwhile
                    raise
        store = cls.open(path)
        store.spec.require_equal(spec, str(path))
        return store

    def writer(self, name: str, target_bytes: int = 128 << 20) -> ShardWriter:
        """Return a new writer of shards; see `ShardWriter`."""
        return ShardWriter(self.path, self.spec, name, target_bytes)

    def versions(self) -> list[int]:
        """Return the committed versions, ascending, without those that were dropped; empty before the first commit."""
        return list_versions(self.path)

    def commit(self, entries: Sequence[ShardEntry], message: str = "") -> Snapshot:
        """Add sealed shards as one new version; when this returns, they are durable and visible.

        Other writers may commit at the same time: the second commit adds to the first. What the store has
        already isn't added again, neither a shard nor an episode (the same uid and steps), so a commit can be repeated, and
        two writers may bring the same episodes. Of a shard that is new in part, the new episodes are copied into another one
        (what it leaves behind is for `gc`).

        Args:
            entries: what writers' `seal` returned; when empty, nothing is committed.
            message: a note for readers of the history.

        Returns:
            The snapshot with the entries.

        Raises:
            ClashError: another episode has a uid that is in the store already, or in two of the entries.
            RunError: a shard isn't what was sealed, or the disk refuses.
        """
        for entry in entries:
            ShardEntry.from_json(entry.to_json(), self.spec.min_row_bytes)  # never write what readers refuse
        ready = dict[tuple[ShardEntry, bytes], ShardEntry]()  # what is missing of an entry -> the shard that has it
        with self._committing:
            while True:
                head = self.manifest()
                sieve = self.sieve(head)
                missing = [(entry, keep) for entry, keep in zip(entries, sieve.take_all(entries), strict=True) if keep.any()]
                if not missing:
                    return self._snapshot(head)
                new = [(entry, keep) for entry, keep in missing if (entry, keep.tobytes()) not in ready]
                prepared = self.shards.each(lambda pair: self._prepare(*pair), new)
                ready |= {(entry, keep.tobytes()): shard for (entry, keep), shard in zip(new, prepared, strict=True)}
                added = tuple(ready[entry, keep.tobytes()] for entry, keep in missing)
                if (written := self._write(head.then(added, message))) is not None:
                    return self._snapshot(written)

    def sieve(self, manifest: Manifest) -> Sieve:
        """Return what tells the episodes that a version lacks; `manifest` is the newest one."""
        with self._committing:
            self._catalogue.follow(manifest)
            return Sieve(self.shards, manifest, self._catalogue)

    def uids(self) -> KeysView[str]:
        """Return the uids of the newest version's episodes; reads what is new since the last time. Commits add to it."""
        with self._committing:
            self._catalogue.follow(self.manifest())
            return self._catalogue.digests.keys()

    def _prepare(self, entry: ShardEntry, keep: NDArray[np.bool_]) -> ShardEntry:
        """Return a shard, safe from `gc`, of the episodes `keep` of a sealed one."""
        if not keep.all():
            return merge_shards(self.shards, [entry], "rest", [keep])
        try:
            return replace(entry, path=backend(self.path).touch(entry.path, entry.num_bytes))
        except FileNotFoundError:
            raise gone(self.path / entry.path) from None

    def index(self, entry: ShardEntry) -> pa.RecordBatch:
        """Return the index of a shard's episodes (columns of `INDEX_SCHEMA`), committed or not."""
        return self.shards.index(entry)

    def publish(self, manifest: Manifest) -> Snapshot | None:
        """Make `manifest` the newest version if its number is free; None if another writer took it.

        The caller has read the version below, and touched the shards that are new.
        """
        snapshot = self._load(manifest)
        written = self._write(manifest)
        return None if written is None else replace(snapshot, content=Content(written, snapshot.content.read))

    def _write(self, manifest: Manifest) -> Manifest | None:
        """Return `manifest` as it was written, or None if another writer took its number."""
        try:
            self._newest = write_manifest(self.path, manifest, self.shards.joined)
        except FileExistsError:
            if max(self.versions(), default=0) < manifest.version:
                where = self.path / manifest_key(manifest.version)
                raise RunError(
                    f"{where}: in the way, since it is no version; restore it or the newest version from a copy"
                ) from None
            return None
        return self._newest

    def snapshot(self, version: int | str | None = None) -> Snapshot:
        """Return a version (default: the newest; version 0, without episodes, before the first commit).

        Args:
            version: its number, or the name of a tag.
        """
        return self._load(self.manifest(self.resolve(version)))

    def resolve(self, version: int | str | None) -> int | None:
        """Return the number of the version that a tag names (numbers and None stay); InputError without such a tag."""
        return read_tag(self.path, version).version if isinstance(version, str) else version

    def pin(self, version: int, name: str) -> None:
        """Keep a version from being dropped until `unpin`, or until the folder `name` of this machine is gone.

        Args:
            version: its number.
            name: what needs it: a run's absolute path. It may pin several versions.

        Raises:
            InputError: there is no such version.
            RunError: the store can't be written.
        """
        set_pin(self.path, version, name)

    def unpin(self, name: str) -> tuple[int, ...]:
        """Release all versions that `name` has pinned, and return them."""
        return release_pins(self.path, name)

    def tag(self, name: str, version: int | str | None = None, *, move: bool = False) -> Tag:
        """Name a version; a tagged version can't be dropped.

        Args:
            name: of the tag.
            version: a number, another tag's name, or None for the newest.
            move: whether an existing tag of that name may be moved here; otherwise that is InputError.
        """
        number = self.manifest(self.resolve(version)).version
        return set_tag(self.path, name, number, move=move)

    def verify(self, version: int | str | None = None) -> list[str]:
        """Read every byte of a version (default: the newest readable one), and all manifests; return the faults.

        Each fault is one line that names the file. An intact store returns an empty list.
        """
        number = self.resolve(version)
        if number is not None:
            self.manifest(number)
        return find_faults(self.path, self.spec, self.uuid, self.versions(), number)

    def manifest(self, version: int | None = None) -> Manifest:
        """Return the list of shards of a version (default: the newest)."""
        if version is None:
            return self._find_newest()
        if version == 0:
            return Manifest(version=0, store=self.uuid)
        try:
            if has_version(self.path, version):
                return self._read(version)
        except FileNotFoundError:
            pass  # dropped a moment ago
        versions = self.versions()
        has = f"{versions[0]} to {versions[-1]}" if versions else "none yet"
        raise InputError(f"{self.path}: no version {version}; there is {has}")

    def _find_newest(self) -> Manifest:
        """Return the newest version, which is read only if it isn't the one that was the newest before."""
        failed, newest = 0, self._newest
        while (number := newest_version(self.path, newest.version)) != newest.version:
            try:
                newest = self._read(number)
            except FileNotFoundError:  # dropped a moment ago, so there is a newer one
                if number <= failed:
                    raise RunError(f"{self.path / manifest_key(number)}: incomplete; restore it from a copy") from None
                failed, newest = number, Manifest(version=0, store=self.uuid)
        self._newest = newest
        return newest

    def _read(self, version: int) -> Manifest:
        known = {segment.name: segment for segment in self._newest.segments}
        return read_manifest(self.path, version, store=self.uuid, row_bytes=self.spec.min_row_bytes, known=known).load(
            self.path
        )

    def _load(self, manifest: Manifest) -> Snapshot:
        """Return a version's snapshot with its index of episodes, checked."""
        snapshot = self._snapshot(manifest)
        assert snapshot.content.episodes is not None  # reads it
        return snapshot

    def _snapshot(self, manifest: Manifest) -> Snapshot:
        """Return a version's snapshot, which reads its index when it is first asked for it."""
        content = Content(manifest, self.shards.gather)
        return Snapshot(path=self.path, version=manifest.version, spec=self.spec, content=content)

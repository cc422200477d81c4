"""A store: a folder of sealed shards and the manifests that list them. Many writers append, readers see whole commits."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from distil.errors import InputError, RunError
from distil.store.files import create_durably, dump_json, load_json, os_fault
from distil.store.index import gather_index
from distil.store.manifest import Manifest, list_versions, read_manifest, write_manifest
from distil.store.schema import FORMAT, StoreSpec, spec_from_json
from distil.store.shard import ShardEntry, read_index
from distil.store.snapshot import Snapshot
from distil.store.verify import find_faults
from distil.store.writer import ShardWriter

_HEADER = "store.json"


class Store:
    """An open store. Holds no lock and no file: any number of processes may have one open, and commit."""

    def __init__(self, path: Path, spec: StoreSpec, store_uuid: str) -> None:
        """Hold a store that exists; use `create`, `open` or `open_or_create`."""
        self.path, self.spec, self.uuid = path, spec, store_uuid
        self._indices: dict[ShardEntry, pa.RecordBatch] = {}  # shards never change

    @staticmethod
    def create(path: str | Path, spec: StoreSpec) -> Store:
        """Make a new, empty store; InputError if there is one already."""
        root = Path(path)
        spec.check()
        header = dump_json({"format": FORMAT, "uuid": uuid.uuid4().hex, **spec.to_json()})
        try:
            for folder in ("data", "manifests"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            create_durably(root / _HEADER, header)
        except FileExistsError:
            what = "a store is there already" if (root / _HEADER).exists() else "a file is in the way"
            raise InputError(f"{root}: {what}; open it, or choose another folder") from None
        except NotADirectoryError:
            raise InputError(f"{root}: a file is in the way; choose another folder") from None
        except OSError as error:
            raise os_fault(error, root) from None
        return Store.open(root)

    @staticmethod
    def open(path: str | Path) -> Store:
        """Open an existing store; InputError if there is none, RunError if its header is damaged."""
        root = Path(path)
        header = root / _HEADER
        try:
            data = load_json(header)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{root}: no store there (no {_HEADER}); collect demonstrations first, or check the path"
            ) from None
        if data.get("format") != FORMAT:
            raise InputError(f"{root}: format version {data.get('format')!r}, this distil reads {FORMAT}; upgrade distil")
        return Store(root, spec_from_json(data, str(header)), str(data.get("uuid")))

    @staticmethod
    def open_or_create(path: str | Path, spec: StoreSpec) -> Store:
        """Open the store, or make it; InputError, naming both spaces, if the existing one is for others."""
        if not (Path(path) / _HEADER).exists():
            try:
                return Store.create(path, spec)
            except InputError:
                if not (Path(path) / _HEADER).exists():  # another process made it meanwhile
                    raise
        store = Store.open(path)
        store.spec.require_equal(spec, str(path))
        return store

    def writer(self, name: str, target_bytes: int = 128 << 20) -> ShardWriter:
        """Return a new writer of shards; see `ShardWriter`."""
        return ShardWriter(self.path, self.spec, name, target_bytes)

    def versions(self) -> list[int]:
        """Return the committed versions, ascending; empty before the first commit."""
        try:
            return list_versions(self.path)
        except OSError as error:
            raise os_fault(error, self.path / "manifests") from None

    def commit(self, entries: Sequence[ShardEntry], message: str = "") -> Snapshot:
        """Add sealed shards as one new version; when this returns, they are durable and visible.

        Other writers may commit at the same time: the one that comes second goes on top of the first.

        Args:
            entries: what writers' `seal` returned; when empty, nothing is committed.
            message: for people.

        Returns:
            The snapshot with the entries.

        Raises:
            RunError: an episode's uid is in the store already, a shard isn't what was sealed, or the disk refuses.
        """
        for entry in entries:
            ShardEntry.from_json(entry.to_json(), self.spec.row_bytes)  # never write what readers refuse
        while True:
            head = self._manifest(None)
            if not entries:
                return self._load(head)
            manifest = replace(head, version=head.version + 1, entries=(*head.entries, *entries), message=message)
            snapshot = self._load(manifest)
            try:
                write_manifest(self.path, manifest)
            except FileExistsError:
                continue
            return snapshot

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return version `version`, or the newest (version 0, without episodes, before the first commit)."""
        return self._load(self._manifest(version))

    def verify(self, version: int | None = None) -> list[str]:
        """Read every byte of a version (default: the newest readable one), and all manifests; return the faults.

        Each fault is one line that names the file. An intact store returns an empty list.
        """
        if version is not None:
            self._require(version)
        return find_faults(self.path, self.spec, self.uuid, self.versions(), version)

    def _require(self, version: int) -> None:
        versions = self.versions()
        if version != 0 and version not in versions:
            has = f"{versions[0]} to {versions[-1]}" if versions else "none yet"
            raise InputError(f"{self.path}: no version {version}; there is {has}")

    def _manifest(self, version: int | None) -> Manifest:
        if version is None:
            version = max(self.versions(), default=0)
        else:
            self._require(version)
        if version == 0:
            return Manifest(version=0, store=self.uuid)
        return read_manifest(self.path, version, store=self.uuid, row_bytes=self.spec.row_bytes)

    def _load(self, manifest: Manifest) -> Snapshot:
        for entry in manifest.entries:
            if entry not in self._indices:
                self._indices[entry] = read_index(self.path, entry)
        episodes = gather_index([self._indices[entry] for entry in manifest.entries])
        twice = np.flatnonzero(episodes.uid[1:] == episodes.uid[:-1])
        if twice.size:
            uid = episodes.uid[twice[0]]
            raise RunError(f"{self.path}: episode {uid} would be in the store twice; give new episodes new uids")
        return Snapshot(
            path=self.path,
            version=manifest.version,
            spec=self.spec,
            entries=manifest.entries,
            episodes=episodes,
            selection=np.arange(len(episodes), dtype=np.int64),
        )

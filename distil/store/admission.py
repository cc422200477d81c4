"""Finds the episodes of sealed shards that a version does not have yet; another episode with a known uid is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distil.errors import RunError
from distil.store.entry import MissingError
from distil.store.location import Location
from distil.store.manifest import Manifest, difference
from distil.store.shard import ShardEntry, open_shard
from distil.store.shards import ClashError, Shards
from distil.store.verify import episode_digest

_LABELS = ("expert_action", "labelled")


class Catalogue:
    """The episodes of a version, by uid. An update to the newest version reads only what has changed."""

    def __init__(self, shards: Shards) -> None:
        """Start with an empty store.

        Args:
            shards: the shards that versions list.
        """
        self._shards = shards
        self._manifest: Manifest | None = None
        self.digests: dict[str, bytes] = {}  # uid -> of the episode's steps
        self.shards: set[str] = set()  # digests of the files

    def follow(self, manifest: Manifest) -> None:
        """Update to the version `manifest`; RunError if one of its new shards can't be read."""
        if self._manifest is None:  # all at once, which is much faster
            self.digests = _digests(self._shards.table(manifest))
            self.shards = set(manifest.column("digest"))
            self._manifest = manifest
            return
        removed, added = difference(self._manifest, manifest)
        self._shards.load(added)
        indices = [_digests(self._shards.index(entry)) for entry in added]
        for entry in removed:  # read before, so this can't fail halfway
            self.shards.discard(entry.digest)
            for uid in _digests(self._shards.index(entry)):
                self.digests.pop(uid, None)
        for entry, digests in zip(added, indices, strict=True):
            self.shards.add(entry.digest)
            self.digests.update(digests)
        self._manifest = manifest


class Sieve:
    """Accepts shards one by one and finds the episodes that are in neither the version nor an earlier shard."""

    def __init__(self, shards: Shards, manifest: Manifest, catalogue: Catalogue) -> None:
        """Start with the episodes of `manifest`, which `catalogue` lists."""
        self._shards, self._manifest, self._catalogue = shards, manifest, catalogue
        self._new: dict[str, tuple[bytes, ShardEntry]] = {}  # uid -> digest, shard
        self._owners: Mapping[str, ShardEntry] | None = None

    def take_all(self, entries: Sequence[ShardEntry]) -> list[NDArray[np.bool_]]:
        """Return `take` of each shard, in this order."""
        with suppress(RunError):  # which `take` raises again
            self._shards.load(entry for entry in entries if entry.digest not in self._catalogue.shards)
        return [self.take(entry) for entry in entries]

    def take(self, entry: ShardEntry) -> NDArray[np.bool_]:
        """Return which episodes of a shard are new, [num_episodes]; afterwards they count as known.

        An episode whose steps are in the version is not new, even if it was labelled there later.

        Raises:
            ClashError: the version or an earlier shard has a different episode with the same uid. The shard is not accepted.
            RunError: the shard can't be read.
        """
        if entry.digest in self._catalogue.shards:
            return np.zeros(entry.num_episodes, np.bool_)
        new, missing = dict[str, tuple[bytes, ShardEntry]](), list[bool]()
        try:
            episodes = _pairs(self._shards.index(entry))
        except MissingError:
            raise gone(self._shards.root / entry.path) from None
        for uid, digest in episodes:
            known = new.get(uid) or self._new.get(uid)
            have = known[0] if known else self._catalogue.digests.get(uid)
            missing.append(have is None)
            if have is None:
                new[uid] = digest, entry
            elif have != digest:
                owner = known[1] if known else self._owner(uid)
                if owner == entry or not self._is_labelled_since(uid, entry, owner):
                    raise ClashError(
                        f"{self._shards.root / entry.path}: episode {uid} would be in the store twice, "
                        f"{owner.path} has another episode {uid}; give new episodes new uids"
                    )
        self._new |= new
        return np.array(missing, np.bool_)

    def _owner(self, uid: str) -> ShardEntry:
        if self._owners is None:
            entries = self._manifest.entries
            self._owners = {name: entry for entry in entries for name, _ in _pairs(self._shards.index(entry))}
        return self._owners[uid]

    def _is_labelled_since(self, uid: str, entry: ShardEntry, owner: ShardEntry) -> bool:
        """Return whether `owner` has the same episode as `entry`, labelled later."""
        (ours, ours_bare), (theirs, theirs_bare) = (self._facts(uid, shard) for shard in (entry, owner))
        is_later = theirs["num_labelled"] > ours["num_labelled"] or theirs["source"] != ours["source"]
        return is_later and ours_bare == theirs_bare

    def _facts(self, uid: str, entry: ShardEntry) -> tuple[dict[str, Any], bytes]:
        """Return an episode's row in the index, and the digest of its steps without their labels."""
        index, spec = self._shards.index(entry), self._shards.spec
        (facts,) = index.slice(index.column("uid").to_pylist().index(uid), 1).to_pylist()
        rows = facts["length"] + 1
        none = {
            column.name: np.zeros((rows, *column.shape), column.dtype) for column in spec.columns() if column.name in _LABELS
        }
        with open_shard(self._shards.root, entry, spec) as shard:
            return facts, episode_digest(shard, spec, facts["first_row"], facts["length"], none)


def gone(where: Location) -> RunError:
    """Return the error for a sealed shard that no longer exists."""
    return RunError(f"{where}: the shard is missing, so it can't be committed; collect its episodes again")


def _pairs(index: pa.RecordBatch | pa.Table) -> list[tuple[str, bytes]]:
    uids, digests = index.select(["uid", "digest"]).to_pydict().values()
    return list(zip(uids, digests, strict=True))


def _digests(index: pa.RecordBatch | pa.Table) -> dict[str, bytes]:
    return dict(_pairs(index))

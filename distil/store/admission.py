"""Which episodes of sealed shards a version still lacks: a commit adds those, and refuses other content under a known uid."""

from __future__ import annotations

from collections.abc import Mapping
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
    """The episodes of a version, by uid. It follows the newest version at the cost of what has changed since."""

    def __init__(self, shards: Shards) -> None:
        """Begin with the empty store.

        Args:
            shards: those that versions list.
        """
        self._index = shards.index
        self._manifest: Manifest | None = None
        self.digests: dict[str, bytes] = {}  # uid -> of the episode's steps
        self.shards: set[str] = set()  # digests of the files

    def follow(self, manifest: Manifest) -> None:
        """Become the catalogue of `manifest`; RunError if a shard that is new in it can't be read."""
        removed, added = difference(self._manifest, manifest)
        indices = [_digests(self._index(entry)) for entry in added]
        for entry in removed:  # read before, so this can't fail halfway
            self.shards.discard(entry.digest)
            for uid in _digests(self._index(entry)):
                self.digests.pop(uid, None)
        for entry, digests in zip(added, indices, strict=True):
            self.shards.add(entry.digest)
            self.digests.update(digests)
        self._manifest = manifest


class Sieve:
    """Takes shards one after another, and says which of their episodes neither the version nor an earlier shard has."""

    def __init__(self, shards: Shards, manifest: Manifest, catalogue: Catalogue) -> None:
        """Begin with what `manifest` has, which `catalogue` is of."""
        self._shards, self._manifest, self._catalogue = shards, manifest, catalogue
        self._new: dict[str, tuple[bytes, ShardEntry]] = {}  # uid -> digest, shard
        self._owners: Mapping[str, ShardEntry] | None = None

    def take(self, entry: ShardEntry) -> NDArray[np.bool_]:
        """Return which episodes of a shard are missing, [num_episodes]; from now on, they are not.

        An episode that the version has with the same steps isn't missing, even if it has got labels there since.

        Raises:
            ClashError: the version, or an earlier shard, has other content under one of its uids. Nothing is taken then.
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
        """Return whether `owner` has an episode of `entry` as it was, but with labels that came later."""
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


def _pairs(index: pa.RecordBatch) -> list[tuple[str, bytes]]:
    uids, digests = index.select(["uid", "digest"]).to_pydict().values()
    return list(zip(uids, digests, strict=True))


def _digests(index: pa.RecordBatch) -> dict[str, bytes]:
    return dict(_pairs(index))

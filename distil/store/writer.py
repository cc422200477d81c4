"""Writing shards: episodes are checked, buffered, and sealed together into a file that never changes again."""

from __future__ import annotations

import re
import secrets

from distil.errors import InputError
from distil.store.buffer import EpisodeBuffer
from distil.store.location import Location
from distil.store.schema import StoreSpec
from distil.store.shard import ShardEntry, seal_shard
from distil.types import Episode

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}")


class ShardWriter:
    """One writer's stream of shards into a store. Any number of writers may work in one store.

    Nothing is visible to readers before `Store.commit` has the entries that `seal` returned.
    """

    def __init__(self, root: Location, spec: StoreSpec, name: str, target_bytes: int = 128 << 20) -> None:
        """Prepare to write.

        Args:
            root: where the store lies.
            spec: the store's spec.
            name: of the writer, the beginning of its files' names; it needn't be unique.
            target_bytes: `is_full` is true once this much is buffered.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"writer name {name!r}: use up to 80 letters, digits, '_', '-' and '.'")
        self.root, self._spec, self._target_bytes = root, spec, target_bytes
        self._stem, self._num_sealed = f"{name}-{secrets.token_hex(6)}", 0
        self._buffer = EpisodeBuffer(spec, target_bytes)

    @property
    def is_full(self) -> bool:
        """Whether the target size is reached, so that it's time to seal."""
        return self._buffer.num_bytes >= self._target_bytes

    def add(self, *episodes: Episode) -> None:
        """Buffer copies of complete episodes, cheaper at once; RunError names the uid and the leaf of one that doesn't fit."""
        self._buffer.add(*episodes)

    def seal(self) -> ShardEntry | None:
        """Write what is buffered as one shard and return its entry, or None when there is nothing.

        Raises:
            RunError: the disk is full or refuses. The buffer is kept, and no part of the file stays behind.
        """
        buffer = self._buffer
        if not len(buffer):
            return None
        name = f"{self._stem}-{self._num_sealed:06d}"
        entry = seal_shard(self.root, self._spec, buffer.columns(), buffer.index(), name)
        self._num_sealed += 1
        buffer.clear()
        return entry

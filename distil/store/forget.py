"""Forgetting: shards whose episodes are no longer needed are removed from a store and from the disk."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from distil.errors import RunError
from distil.store.gc import collect_garbage
from distil.store.history import drop, droppable

if TYPE_CHECKING:
    from distil.store.store import Store


def forget_episodes(store: Store, uids: Set[str]) -> None:
    """Remove the shards whose episodes are all among `uids`, and all versions that are neither newest, tagged nor pinned.

    Shards that another version lists stay on the disk. Readers that have mapped a shard keep it. After a kill, calling it again
    finishes the removal.

    Args:
        store: no other process may write to it meanwhile.
        uids: of the episodes; those in one shard with other episodes stay.

    Raises:
        RunError: another process wrote to the store.
    """
    head = store.manifest()
    kept = [entry for entry in head.entries if not uids >= set(store.index(entry).column("uid").to_pylist())]
    if len(kept) < len(head.entries) and store.publish(head.listing(kept, "older episodes forgotten")) is None:
        raise RunError(f"{store.path}: another process writes to this store; stop it, and rerun the command to continue")
    drop(store, droppable(store, keep=1))
    collect_garbage(store, grace_s=0)

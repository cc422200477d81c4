from __future__ import annotations

from collections.abc import Callable

import pytest

from distil.store import ShardEntry, Store
from distil.store.manifest import Manifest
from distil.store.shards import ClashError, Shards

Fill = Callable[..., Store]


def listing(*entries: ShardEntry) -> Manifest:
    return Manifest(version=1, store="s", tail=entries)


def test_each_index_is_read_once(fill: Fill) -> None:
    store = fill([3, 4], [0, 1])
    shards = Shards(store.path, store.spec)
    first, second = store.snapshot().entries
    known = shards.index(first)
    assert shards.gather(listing(first, second)).uid.tolist() == ["test-0000", "test-0001"]
    for entry in (first, second):
        (store.path / entry.path).unlink()
    assert shards.index(first) is known
    assert shards.gather(listing(second, first)).length.tolist() == [3, 4]


def test_two_episodes_of_one_uid_are_a_clash(fill: Fill) -> None:
    store = fill([3])
    (entry,) = store.snapshot().entries
    with pytest.raises(ClashError, match="episode test-0000 would be in the store twice"):
        store.shards.gather(listing(entry, entry))

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from distil.errors import RunError
from distil.store import Store
from distil.store.merge import merge_shards

Fill = Callable[..., Store]


def test_chosen_episodes_come_in_the_order_of_their_uids(fill: Fill) -> None:
    store = fill([3, 1, 4, 2, 5], [1, 0, 1, 0, 1])
    entries, wanted = store.snapshot().entries, ["test-0000", "test-0003", "test-0004"]
    keep = [np.isin(store.index(entry).column("uid").to_pylist(), wanted) for entry in entries]
    entry = merge_shards(store.shards, entries, "part", keep)
    assert store.versions() == [1]  # nothing is committed
    index = store.index(entry).to_pydict()
    assert (index["uid"], index["length"], index["first_row"]) == (wanted, [3, 2, 5], [0, 4, 7])
    other = fill([], name="other")
    (other.path / entry.path).parent.mkdir(exist_ok=True)
    (other.path / entry.path).write_bytes((store.path / entry.path).read_bytes())
    snapshot = other.commit([entry])
    assert other.verify() == []
    for number, episode in enumerate((0, 3, 4)):
        np.testing.assert_array_equal(
            snapshot.episode(number).observations["obs"], store.snapshot().episode(episode).observations["obs"]
        )


def test_altered_shards_are_refused(fill: Fill) -> None:
    store = fill([3, 4], [0, 1])
    entries = store.snapshot().entries
    path = store.path / entries[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(RunError, match=f"{entries[0].path}: altered"):
        merge_shards(store.shards, entries, "part")

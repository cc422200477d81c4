from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from distil.errors import RunError
from distil.store import ShardEntry, Store
from distil.store.recover import recover

Fill = Callable[..., Store]


def sealed(store: Store, *episodes: Any, name: str = "w") -> ShardEntry:
    writer = store.writer(name)
    for episode in episodes:
        writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    return entry


def test_other_content_under_one_uid_is_refused(fill: Fill, make_episode: Any) -> None:
    store = fill([3, 4])
    again, twin, other = (sealed(store, make_episode(number, length)) for number, length in ((1, 5), (2, 5), (2, 6)))
    relabelled = replace(make_episode(1, 4), expert_actions=np.zeros((4, 1), np.float32))
    for entries in ([again], [twin, other], [sealed(store, make_episode(5, 3), relabelled)]):
        (clash,) = [uid for uid in ("test-0001", "test-0002") if uid in store.index(entries[-1]).column("uid").to_pylist()]
        with pytest.raises(
            RunError, match=rf"^[^\n]*{entries[-1].path}: episode {clash} would be in the store twice, data/\S+ has"
        ):
            store.commit(entries)
    assert store.versions() == [1]


def test_a_commit_adds_what_is_missing(fill: Fill, make_episode: Any) -> None:
    store = fill([3, 4])
    same, part = sealed(store, make_episode(1, 4)), sealed(store, make_episode(0, 3), make_episode(2, 5), make_episode(3, 2))
    twins = [sealed(store, make_episode(4, 6)), sealed(store, make_episode(3, 2), make_episode(4, 6))]
    assert store.commit([same]).version == 1
    snapshot = store.commit([same, part, *twins, part])
    assert (snapshot.version, snapshot.episodes.uid.tolist()) == (2, [f"test-{i:04d}" for i in range(5)])
    assert snapshot.digest == fill([3, 4, 5, 2, 6], name="other").snapshot().digest
    assert store.verify() == []
    assert store.commit([part, *twins]).version == 2
    assert recover(store).refused == recover(store).committed == ()


def test_labels_that_came_since_stay(fill: Fill, make_episode: Any) -> None:
    """Two runs collect the same episodes; the first one has labelled them when the second one commits."""
    bare = {"labelled": np.zeros(4, np.uint8), "expert_actions": np.zeros((4, 1), np.float32), "source": "policy"}
    store = fill([3])
    store.commit([sealed(store, make_episode(1, 4))])
    late = sealed(store, make_episode(1, 4, **bare), make_episode(2, 4, **bare))
    snapshot = store.commit([late])
    assert snapshot.episodes.num_labelled.tolist() == [3, 4, 0]
    moved = make_episode(1, 4, **bare, observations={"obs": np.zeros((5, 2))})
    with pytest.raises(RunError, match="has another episode test-0001"):
        store.commit([sealed(store, moved)])

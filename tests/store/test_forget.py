from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distil.errors import RunError
from distil.store import Store
from distil.store.forget import forget_episodes

Fill = Callable[..., Store]


def shards(store: Store) -> set[str]:
    return {f"data/{path.name}" for path in (store.path / "data").glob("*.arrow")}  # type: ignore[union-attr, operator]


def test_shards_without_a_needed_episode_leave_the_disk(fill: Fill) -> None:
    store = fill([3, 9, 4, 7, 5], [0, 0, 1, 1, 2])
    old, mixed, new = store.snapshot().entries
    uids = store.snapshot().episodes.uid.tolist()
    gone = {*store.index(old).column("uid").to_pylist(), store.index(mixed).column("uid").to_pylist()[0]}
    for _ in range(2):  # once more after a kill changes nothing
        forget_episodes(store, gone)
        assert shards(store) == {mixed.path, new.path}
    assert store.versions() == [2]
    kept = Store.open(store.path).snapshot()
    assert sorted(kept.episodes.uid.tolist()) == sorted(set(uids) - set(store.index(old).column("uid").to_pylist()))
    assert store.verify() == []
    assert store.commit([mixed, new]).version == 2  # a commit that is repeated adds nothing


def test_what_is_tagged_or_pinned_stays(fill: Fill) -> None:
    store = fill([3, 4], [0, 1])
    old, _ = store.snapshot().entries
    store.tag("keep", 1)
    forget_episodes(store, set(store.index(old).column("uid").to_pylist()))
    assert store.versions() == [1, 2]
    assert old.path in shards(store)
    assert store.snapshot("keep").num_episodes == 2
    assert store.snapshot().num_episodes == 1


def test_another_writer_is_refused(fill: Fill, make_episode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill([3, 4], [0, 1])
    old, _ = store.snapshot().entries
    monkeypatch.setattr(Store, "publish", lambda self, manifest: None)
    with pytest.raises(RunError, match="another process writes to this store"):
        forget_episodes(store, set(store.index(old).column("uid").to_pylist()))
    assert old.path in shards(store)

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from distil.errors import InputError
from distil.store import ShardEntry, Store, history
from distil.store.history import diff, drop, droppable, summaries
from distil.store.manifest import read_manifest

Fill = Callable[..., Store]


def sealed(store: Store, *episodes: Any) -> ShardEntry:
    writer = store.writer("w")
    for episode in episodes:
        writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    return entry


@pytest.fixture
def store(fill: Fill, make_episode: Any) -> Store:
    store = fill([3, 4])
    for number in range(7, 10):
        store.commit([sealed(store, make_episode(number, 5))], f"episode {number}")
    return store


def test_summaries_and_differences(store: Store) -> None:
    store.tag("best", 2)
    found = summaries(store)
    assert [(item.version, item.num_episodes, item.num_transitions, item.num_shards, item.tags) for item in found] == [
        (1, 2, 7, 1, ()),
        (2, 3, 12, 2, ("best",)),
        (3, 4, 17, 3, ()),
        (4, 5, 22, 4, ()),
    ]
    assert found[3].message == "episode 9"
    assert diff(store, 1, "best").added == ("test-0007",)
    assert diff(store, 4, 2).removed == ("test-0008", "test-0009")
    assert diff(store, 0).added == tuple(f"test-{i:04d}" for i in (0, 1, 7, 8, 9))


def test_other_steps_under_one_uid_are_a_change(store: Store, make_episode: Any) -> None:
    manifest = store.manifest()
    other = sealed(store, make_episode(9, 6))
    store.publish(manifest.listing((*manifest.entries[:-1], other), ""))
    assert diff(store, 4, 5).changed == ("test-0009",)


def test_dropping_keeps_the_rest_and_never_frees_a_number(store: Store, make_episode: Any) -> None:
    pinned = store.snapshot(1)
    store.tag("best", 2)
    assert droppable(store, 1) == [1, 3]
    assert droppable(store, 2) == [1]
    for versions, text in (([4], "the newest"), ([1, 2], "is tagged 'best'"), ([1, 9], "no version 9")):
        with pytest.raises(InputError, match=text):
            drop(store, versions)
    assert store.versions() == [1, 2, 3, 4]
    drop(store, [1, 3])
    assert (store.versions(), pinned.episode(0).length, store.verify()) == ([2, 4], 3, [])
    with pytest.raises(InputError, match="no version 3; there is 2 to 4"):
        store.snapshot(3)
    with pytest.raises(InputError, match="no version 1"):
        drop(store, [1])
    with pytest.raises(FileNotFoundError):  # to a reader that listed the versions before
        read_manifest(store.path, 3, store=store.uuid, row_bytes=store.spec.min_row_bytes)
    behind = type(store.manifest())(version=3, store=store.uuid, tail=(sealed(store, make_episode(20, 3)),))
    assert store.publish(behind) is None  # a committer that still believes in version 2 must not win
    assert store.commit([sealed(store, make_episode(21, 3))]).version == 5


def test_a_tag_that_comes_at_the_same_time_wins_or_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = history.drop_manifest

    def late(root: Any, version: int) -> None:
        store.tag("mine", version)
        real(root, version)

    monkeypatch.setattr(history, "drop_manifest", late)
    with pytest.raises(InputError, match="is tagged 'mine'"):
        drop(store, [2])
    assert store.versions() == [1, 2, 3, 4]
    assert store.snapshot("mine").num_episodes == 3


def test_readers_of_the_newest_never_stumble_over_a_drop(store: Store, make_episode: Any) -> None:
    faults, done = list[BaseException](), threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                Store.open(store.path).snapshot()
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(30, 50):
        store.commit([sealed(store, make_episode(number, 2))])
        drop(store, droppable(store, 1))
    done.set()
    thread.join()
    assert not faults

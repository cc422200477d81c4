from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distil.errors import RunError
from distil.store import ShardEntry, Store
from distil.store.folder import FolderBackend
from distil.store.gc import collect_garbage
from distil.store.history import drop
from distil.store.versions import drop_manifest, manifest_key

Fill = Callable[..., Store]


@pytest.fixture
def store(fill: Fill) -> Store:
    return fill([3, 4, 5], [0, 1, 2])


def sealed(store: Store, *episodes: Any, age_s: float = 0.0) -> ShardEntry:
    writer = store.writer("w")
    for episode in episodes:
        writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    old(store.path / entry.path, age_s)
    return entry


def old(path: Path, age_s: float) -> None:
    os.utime(path, (time.time() - age_s,) * 2)


def test_only_old_shards_that_no_version_lists_go(store: Store, make_episode: Any) -> None:
    for entry in store.snapshot().entries:
        old(store.path / entry.path, 1e6)
    young, lost = sealed(store, make_episode(7, 3)), sealed(store, make_episode(8, 3), age_s=1e6)
    dry = collect_garbage(store, dry_run=True)
    assert (store.path / lost.path).exists()
    report = collect_garbage(store)
    assert dry == report
    assert (report.deleted, report.kept, report.num_bytes) == ((lost.path,), (young.path,), lost.num_bytes)
    assert collect_garbage(store, grace_s=0).deleted == (young.path,)
    assert store.verify() == []


def test_what_is_being_committed_stays(store: Store, make_episode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that lay for weeks is committed while the collector is between looking and deleting."""
    entry = sealed(store, make_episode(7, 3), age_s=1e7)
    withdraw = FolderBackend.withdraw

    def late(self: FolderBackend, key: str, *, older_than_s: float) -> bool:
        store.commit([entry])
        return withdraw(self, key, older_than_s=older_than_s)

    with monkeypatch.context() as patch:
        patch.setattr(FolderBackend, "withdraw", late)
        assert collect_garbage(store).deleted == ()
    assert store.snapshot().num_episodes == 4
    assert store.verify() == []


def test_an_interrupted_collection_is_finished(store: Store, make_episode: Any) -> None:
    used, unused = store.snapshot().entries[0], sealed(store, make_episode(7, 3))
    for entry in (used, unused):
        path = store.path / entry.path
        path.rename(path.parent / f".{path.name}.trash")
        old(path.parent / f".{path.name}.trash", 1e7)
    with pytest.raises(RunError, match="the shard is missing"):
        Store.open(store.path).snapshot()
    assert collect_garbage(store).restored == (used.path,)
    assert store.verify() == []
    assert not [path for path in (store.path / "data").iterdir() if path.name.startswith(".")]


def test_nothing_goes_while_a_manifest_is_unreadable(store: Store, make_episode: Any) -> None:
    lost = sealed(store, make_episode(7, 3), age_s=1e7)
    path = store.path / manifest_key(1)
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    with pytest.raises(RunError, match=r"v000000000001\.json: damaged"):
        collect_garbage(store)
    assert (store.path / lost.path).exists()


def test_dropped_versions_free_their_shards_and_leftovers_go(store: Store, make_episode: Any) -> None:
    store.commit([sealed(store, make_episode(7, 3))])
    temporary = store.path / "manifests" / f".v000000000002.json.{'0' * 16}.tmp"
    temporary.write_bytes(b"half")
    old(temporary, 1e7)
    store.commit([sealed(store, make_episode(8, 3))])
    drop(store, [1])
    drop_manifest(store.path, 2)  # as a drop that was killed half way leaves it
    size = (store.path / manifest_key(2)).stat().st_size
    assert collect_garbage(store).deleted == ()  # version 3 has them all
    assert (store.path / manifest_key(2)).stat().st_size < size
    assert not temporary.exists()
    assert store.versions() == [3]
    assert store.verify() == []

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import RunError
from distil.store import Store, shard
from distil.store.compact import compact
from distil.store.gc import collect_garbage
from distil.store.history import drop

Fill = Callable[..., Store]


def test_the_content_stays_and_old_versions_too(fill: Fill) -> None:
    store = fill([3, 9, 4, 7, 5, 6], [2, 0, 1, 0, 2, 3])
    before = store.snapshot()
    columns = before.columns(["obs", "action", "episode", "step"])
    report = compact(store)
    assert (report.version, report.num_before, report.num_after) == (2, 4, 1)
    after = Store.open(store.path).snapshot()
    assert after.digest == before.digest
    for name, values in after.columns(["obs", "action", "step"]).items():
        np.testing.assert_array_equal(values, columns[name])
    assert after.columns(["episode"])["episode"].tolist() == np.repeat(np.arange(6), [4, 10, 5, 8, 6, 7]).tolist()
    assert store.verify(1) == store.verify(2) == []
    np.testing.assert_array_equal(before.episode(3).observations["obs"], after.episode(3).observations["obs"])
    assert compact(store).version == 2  # nothing left to do
    assert store.commit(before.entries[:2]).version == 2  # a writer that never heard of its commit tries once more
    drop(store, [1])
    assert len(collect_garbage(store, grace_s=0).deleted) == 4
    assert store.verify() == []


def test_large_shards_are_left_alone(fill: Fill) -> None:
    store = fill([300, 2, 3, 250, 4], [0, 1, 2, 3, 4])
    sizes = [entry.num_bytes for entry in store.snapshot().entries]
    report = compact(store, target_bytes=2 * (min(sizes[0], sizes[3]) - 1))
    assert (report.num_before, report.num_after) == (5, 3)
    assert sorted(entry.num_episodes for entry in store.snapshot().entries) == [1, 1, 3]


def test_commits_may_come_meanwhile_but_no_second_compaction(
    fill: Fill, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill([3, 4, 5], [0, 1, 2])
    publish, calls = Store.publish, list[int]()

    def busy(self: Store, manifest: Any) -> Any:
        if not calls:
            calls.append(1)
            writer = store.writer("other")
            writer.add(make_episode(9, 3))
            entry = writer.seal()
            store.commit([entry] if entry else [])
        return publish(self, manifest)

    monkeypatch.setattr(Store, "publish", busy)
    assert compact(store).num_after == 2
    assert store.snapshot().num_episodes == 4
    store, calls[:] = fill([3, 4, 5], [0, 1, 2], name="second"), [1]

    def race(self: Store, manifest: Any) -> Any:
        if calls:
            calls.clear()
            compact(Store.open(store.path))
        return publish(self, manifest)

    monkeypatch.setattr(Store, "publish", race)
    with pytest.raises(RunError, match="another compaction was first"):
        compact(store)
    assert len(list((store.path / "data").iterdir())) == 4
    assert store.verify() == []


@pytest.mark.parametrize("codecs", [{}, {"obs/image": "lz4"}])
def test_every_type_of_column(tmp_path: Path, every_type: Any, codecs: dict[str, str]) -> None:
    spec, episodes = every_type(codecs)
    store = Store.create(tmp_path / "demos", spec)
    for episode in episodes:
        writer = store.writer("w")
        writer.add(episode)
        entry = writer.seal()
        store.commit([entry] if entry else [])
    before = store.snapshot()
    compact(store)
    after = store.snapshot()
    assert after.digest == before.digest
    assert after.episodes.success.tolist() == [-1, 1, 0]
    assert after.episode(1).infos == episodes[1].infos
    np.testing.assert_array_equal(after.episode(2).observations["obs/image"], episodes[2].observations["obs/image"])
    assert store.verify() == []


def test_a_damaged_shard_is_not_made_official(fill: Fill) -> None:
    store = fill([300, 300], [0, 1])
    path = store.path / store.snapshot().entries[1].path
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path.name}: altered"):
        compact(store)
    assert store.versions() == [1]


def test_a_full_disk_leaves_nothing(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill([3, 4], [0, 1])
    monkeypatch.setattr(shard, "_create_locked", lambda path: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    with pytest.raises(RunError, match="no disk space left"):
        compact(store)
    assert len(list((store.path / "data").iterdir())) == 2

from __future__ import annotations

import multiprocessing
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from powercut import PowerCut

from distil.errors import InputError, RunError
from distil.spaces import observation_spec
from distil.store import ShardEntry, Store, StoreSpec
from distil.store.backend import read_json
from distil.store.files import dump_json
from distil.store.folder import FolderBackend
from distil.store.footer import Footer

Fill = Callable[..., Store]


def sealed(store: Store, *episodes: Any, name: str = "w") -> ShardEntry:
    writer = store.writer(name)
    for episode in episodes:
        writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    return entry


def test_create_open_and_their_errors(tmp_path: Path, spec: StoreSpec) -> None:
    path = tmp_path / "runs" / "demos"
    with pytest.raises(InputError, match="no store there"):
        Store.open(path)
    assert not Store.exists(path)
    created = Store.create(path, spec)
    assert Store.exists(path)
    assert Store.open(str(path)).uuid == Store.open_or_create(path, spec).uuid == created.uuid
    assert created.spec == spec
    with pytest.raises(InputError, match="a store already exists"):
        Store.create(path, spec)
    other = StoreSpec(observation=observation_spec(spaces.Box(-1, 1, (8,))), action=spec.action)
    with pytest.raises(InputError, match=r"Box\(2\) float64, the environment Box\(8\) float32"):
        Store.open_or_create(path, other)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no store there"):
        Store.open(tmp_path / "file")
    for taken in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="a file is in the way"):
            Store.open_or_create(taken, spec)


def test_other_formats_are_refused_with_the_command_that_mends_it(tmp_path: Path, spec: StoreSpec) -> None:
    path = Store.create(tmp_path / "demos", spec).path
    (path / "store.json").write_bytes(dump_json(read_json(path, "store.json") | {"format": 2}))
    with pytest.raises(InputError, match="format version 2, this distil reads 1; upgrade distil: pip install --upgrade distil"):
        Store.open(path)
    (path / "store.json").write_bytes(dump_json(read_json(path, "store.json") | {"format": 0}))
    with pytest.raises(InputError, match=r"format version 0.*`distil store import parquet FOLDER NEW_STORE`"):
        Store.open(path)


def test_a_damaged_header_is_named(fill: Fill) -> None:
    header = fill([3]).path / "store.json"
    header.write_bytes(header.read_bytes()[:-5])
    with pytest.raises(RunError, match=r"store\.json: damaged"):
        Store.open(header.parent)


def test_an_empty_store_is_version_0(tmp_path: Path, spec: StoreSpec) -> None:
    store = Store.create(tmp_path / "demos", spec)
    snapshot = store.snapshot()
    assert (snapshot.version, snapshot.num_episodes, snapshot.num_transitions, store.versions()) == (0, 0, 0, [])
    assert store.commit([]).version == 0
    assert store.verify() == []
    assert store.snapshot(0).digest == snapshot.digest
    with pytest.raises(InputError, match="no version 1; there is none yet"):
        store.snapshot(1)


def test_a_snapshot_never_changes(fill: Fill, make_episode: Any) -> None:
    store = fill([3, 4])
    before = store.snapshot()
    after = store.commit([sealed(store, make_episode(7, 5))], "more")
    assert (before.version, before.num_episodes, after.version, after.num_episodes) == (1, 2, 2, 3)
    assert Store.open(store.path).snapshot(1).digest == before.digest != after.digest
    assert Store.open(store.path).snapshot().digest == after.digest
    assert store.versions() == [1, 2]


def test_a_power_cut_loses_nothing_that_was_committed(tmp_path: Path, fill: Fill, power_cut: PowerCut) -> None:
    """Issue 8, number 24: the folders of a store were not flushed."""
    assert fill([3, 4], [0, 1], name="deep/demos").snapshot().num_episodes == 2
    assert power_cut.lost(tmp_path) == []


def test_the_order_and_digest_are_those_of_the_content(fill: Fill) -> None:
    """CORRECTNESS 5: how workers raced, and how they cut their shards, changes nothing."""
    lengths = [3, 9, 4, 7, 5]
    one, other = fill(lengths, name="a").snapshot(), fill(lengths, [2, 0, 1, 0, 2], name="b").snapshot()
    assert one.digest == other.digest
    assert one.episodes.uid.tolist() == other.episodes.uid.tolist() == [f"test-{i:04d}" for i in range(5)]
    np.testing.assert_array_equal(one.columns(["obs"])["obs"], other.columns(["obs"])["obs"])
    assert fill([3, 9, 4, 7, 6], name="c").snapshot().digest != one.digest


def test_a_commit_needs_what_was_sealed(fill: Fill, make_episode: Any) -> None:
    store = fill([3])
    entry = sealed(store, make_episode(5, 3))
    shutil.move(store.path / entry.path, store.path / "gone")
    with pytest.raises(RunError, match="the shard is missing"):
        store.commit([entry])
    assert store.snapshot().num_episodes == 1


def test_concurrent_commits_all_count(tmp_path: Path, spec: StoreSpec, make_episode: Any) -> None:
    root = Store.create(tmp_path / "demos", spec).path
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            store = Store.open(root)
            for step in range(10):
                store.commit([sealed(store, make_episode(100 * number + step, 2))])
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    check_all(root, 40)


def _commit_ten(root: Path, entries: list[ShardEntry]) -> None:
    store = Store.open(root)
    for entry in entries:
        store.commit([entry])


def check_all(root: Path, num: int) -> None:
    store = Store.open(root)
    assert store.versions() == list(range(1, num + 1))
    assert [store.snapshot(version).num_episodes for version in store.versions()] == list(range(1, num + 1))
    assert store.verify() == []
    assert not [path.name for path in (root / "manifests").iterdir() if path.name.startswith(".")]


def test_concurrent_commits_of_two_processes_all_count(tmp_path: Path, spec: StoreSpec, make_episode: Any) -> None:
    store = Store.create(tmp_path / "demos", spec)
    context = multiprocessing.get_context("fork")
    parts = [[sealed(store, make_episode(100 * number + step, 2)) for step in range(10)] for number in range(2)]
    processes = [context.Process(target=_commit_ten, args=(store.path, part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    check_all(store.path, 20)


def _collect_the_same(root: Path, episodes: list[Any], barrier: Any) -> None:
    """Write the same episodes as others do, cut into other shards, and commit each shard by itself, all at once."""
    store, barrier_passed = Store.open(root), False
    while episodes:
        entry, episodes = sealed(store, *episodes[: 1 + len(episodes) // 3]), episodes[1 + len(episodes) // 3 :]
        if not barrier_passed:
            barrier_passed = barrier.wait() >= 0
        store.commit([entry])


def test_processes_that_collect_the_same_at_once_lose_nothing(tmp_path: Path, spec: StoreSpec, make_episode: Any) -> None:
    store = Store.create(tmp_path / "demos", spec)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    episodes = [make_episode(number, 3) for number in range(30)]
    parts = [episodes[:20], episodes[:30], episodes[29:4:-1], episodes[::-2]]
    processes = [context.Process(target=_collect_the_same, args=(store.path, part, barrier)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert store.snapshot().episodes.uid.tolist() == [episode.uid for episode in episodes]
    assert store.verify() == []


def test_what_came_with_a_report_is_not_opened_and_yet_looked_for(
    fill: Fill, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sealed = fill([3]), []
    for number in (1, 2, 3):
        writer = store.writer("w")
        writer.add(make_episode(number, 4))
        sealed.append(writer.seal())
    whole, cut, gone = [entry for entry in sealed if entry]
    for entry in (whole, cut, gone):
        store.shards.tell(entry, Footer.read(store.path, entry))
    store.snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(FolderBackend, "get_ranges", lambda *args: pytest.fail("it opens a file"))
        assert store.commit([whole]).episodes.uid.tolist() == ["test-0000", "test-0001"]
    assert Store.open(store.path).snapshot().digest == store.snapshot().digest
    (store.path / cut.path).write_bytes((store.path / cut.path).read_bytes()[:-1])
    with pytest.raises(RunError, match=rf"^[^\n]*{cut.path}: [^\n]*truncated or altered since it was sealed[^\n]*$"):
        store.commit([cut])
    (store.path / gone.path).unlink()
    with pytest.raises(RunError, match=f"{gone.path}: the shard is missing, so it can't be committed"):
        store.commit([gone])
    assert store.versions() == [1, 2]

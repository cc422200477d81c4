from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import RunError
from distil.seeding import generator
from distil.store import Sampler, ShardEntry, Store, StoreSpec
from distil.store.backend import backend
from distil.store.compact import compact
from distil.store.gc import collect_garbage
from distil.store.history import diff, drop
from distil.store.recover import recover
from distil.store.relabel import (
    EpisodeLabels,
    find_rewritten,
    is_rewritten,
    labelled_source,
    publish_rewritten,
    require_intact,
    rewrite_shard,
    rewritten_from,
)
from distil.store.shard import open_shard
from distil.types import Episode

Make = Callable[..., Episode]


@pytest.fixture
def raw(tmp_path: Path, spec: StoreSpec, make_episode: Make) -> Callable[..., Store]:
    """Make a store of unlabelled episodes of these lengths, one list a shard, one commit each."""

    def make(*shards: list[int], where: str | None = None) -> Store:
        store, number = Store.create(where or tmp_path / "store", spec), 0
        for lengths in shards:
            writer = store.writer("w")
            for length in lengths:
                bare = {"expert_actions": np.zeros((length, 1), np.float32), "labelled": np.zeros(length, np.uint8)}
                writer.add(make_episode(number, length, source="random", **bare))
                number += 1
            entry = writer.seal()
            assert entry is not None
            store.commit([entry])
        return store

    return make


def labels(store: Store, *numbers: int, value: float = 7.0) -> dict[str, EpisodeLabels]:
    """Return labels of every step of the episodes, all of one value."""
    found = {}
    for number in numbers:
        num = int(store.snapshot().episodes.length[number])
        actions = np.full((num, 1), value, np.float32)
        found[f"test-{number:04d}"] = EpisodeLabels(
            actions=actions, labelled=np.ones(num, np.uint8), source="random+expert:new"
        )
    return found


def rewrite(store: Store, shard: int, *numbers: int, value: float = 7.0, key: str = "k") -> dict[ShardEntry, ShardEntry]:
    """Return the shard -> the same with labels for the episodes."""
    entry = store.manifest().entries[shard]
    return {entry: rewrite_shard(store.path, store.spec, entry, key, labels(store, *numbers, value=value))}


def found(store: Store, entry: ShardEntry, key: str = "k") -> ShardEntry | None:
    return find_rewritten(store.path, entry, rewritten_from(entry, key, backend(store.path).list("data")))


@pytest.mark.parametrize("codecs", [{}, {"obs/image": "lz4"}])
def test_everything_but_the_labels_is_the_same(tmp_path: Path, every_type: Any, codecs: dict[str, str]) -> None:
    """Of every type of column; and the new digest is the one that a writer computes."""
    spec, episodes = every_type(codecs)
    store, twin = Store.create(tmp_path / "demos", spec), Store.create(tmp_path / "twin", spec)
    new = EpisodeLabels(actions=np.array([4, 2, 3]), labelled=np.ones(3, np.uint8), source="expert:é+expert:new")
    relabelled = replace(episodes[1], expert_actions=new.actions, labelled=new.labelled, source=new.source)
    for target, content in ((store, episodes), (twin, [episodes[0], relabelled, episodes[2]])):
        writer = target.writer("w")
        for episode in content:
            writer.add(episode)
        entry = writer.seal()
        target.commit([entry] if entry else [])
    (old,) = store.manifest().entries
    entry = rewrite_shard(store.path, spec, old, "k", {"e1": new})
    assert publish_rewritten(store, {old: entry}, "labels") == 2
    with open_shard(store.path, old, spec) as before, open_shard(store.path, entry, spec) as after:
        for name in spec.schema().names:
            a, b = (shard.arrow(name) for shard in (before, after))
            if name not in ("expert_action", "labelled"):
                assert [x and x.to_pybytes() for x in a.buffers()] == [x and x.to_pybytes() for x in b.buffers()]
    then, now = store.snapshot(1), store.snapshot()
    assert now.digest == twin.snapshot().digest
    assert now.episodes.num_labelled.tolist() == [2, 3, 2]
    assert (then.episodes.digest == now.episodes.digest).tolist() == [True, False, True]
    assert then.episode(1).labelled.tolist() == [1, 0, 1]
    assert now.episode(1).infos == episodes[1].infos
    assert now.episodes.success.tolist() == [-1, 1, 0]
    assert diff(store, 1).changed == ("e1",)
    assert store.verify(1) == store.verify(2) == []


def test_training_reads_the_new_labels(raw: Callable[..., Store]) -> None:
    store = raw([3, 5])
    publish_rewritten(store, rewrite(store, 0, 1), "labels")
    sampler = Sampler(store.snapshot())
    assert sampler.num_samples == 5
    (batch,) = sampler.batches(batch_size=5, seed=0, num_batches=1)
    assert batch.actions.reshape(-1).tolist() == [7.0] * 5
    assert sorted(np.asarray(batch.observations["obs"])[:, 0, 0].tolist()) == [1000, 1001, 1002, 1003, 1004]


def test_many_shards_are_one_version_and_others_commit_meanwhile(
    raw: Callable[..., Store], make_episode: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = raw([3, 4], [5], [6])
    rewritten = rewrite(store, 0, 0) | rewrite(store, 2, 3)
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
    assert publish_rewritten(store, rewritten, "labels") == 5
    assert store.snapshot().episodes.num_labelled.tolist() == [3, 0, 0, 6, 3]
    assert store.snapshot(4).episodes.num_labelled.tolist() == [0, 0, 0, 0, 3]
    assert store.verify() == []
    assert publish_rewritten(store, {}, "labels") == 5


def test_a_compaction_meanwhile_gets_the_labels_too(raw: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should have to ask for them again."""
    store = raw([3, 4], [5], [6])
    rewritten = rewrite(store, 0, 1) | rewrite(store, 2, 3)
    publish, calls = Store.publish, list[int]()

    def race(self: Store, manifest: Any) -> Any:
        if not calls:
            calls.append(1)
            compact(Store.open(store.path))
        return publish(self, manifest)

    monkeypatch.setattr(Store, "publish", race)
    assert publish_rewritten(store, rewritten, "labels") == 5
    now = store.snapshot()
    assert len(now.entries) == 1
    assert now.episodes.num_labelled.tolist() == [0, 4, 0, 6]
    assert now.episodes.source.tolist() == ["random", "random+expert:new"] * 2
    assert now.episode(1).expert_actions.reshape(-1).tolist() == [7.0] * 4
    assert store.verify() == []


def test_who_labels_the_same_second_loses_only_that(raw: Callable[..., Store]) -> None:
    store = raw([3, 4], [5])
    late = rewrite(store, 0, 0, 1) | rewrite(store, 1, 2)
    publish_rewritten(store, rewrite(store, 0, 0, value=5.0), "others")
    with pytest.raises(RunError, match=r"another process has labelled 1 of the episodes meanwhile \(such as test-0000\)"):
        publish_rewritten(store, late, "labels")
    now = store.snapshot()
    assert [float(now.episode(i).expert_actions[0, 0]) for i in range(3)] == [5.0, 7.0, 7.0]
    assert publish_rewritten(store, rewrite(store, 0, 0), "the same again") == now.version + 1
    same = {old: new for old, new in late.items() if new.num_episodes == 1}
    assert publish_rewritten(store, same, "labels") == now.version + 1  # published already: nothing to do


def test_finished_work_is_found_again_but_only_when_whole(raw: Callable[..., Store]) -> None:
    store = raw([3, 4])
    ((old, new),) = rewrite(store, 0, 0).items()
    assert is_rewritten(new.path)
    assert not is_rewritten(old.path)
    assert found(store, old) == new
    assert found(store, old, "other") is None
    assert found(store, new) is None
    path = store.path / new.path
    content = path.read_bytes()
    for broken in (content[:-1], content[: len(content) // 2], b"", content[:3000] + b"\xff" + content[3001:]):
        path.write_bytes(broken)
        assert found(store, old) is None
    assert rewrite(store, 0, 0) == {old: new}  # written over it
    assert found(store, old) == new
    twin = rewrite(store, 0, 0, value=6.0)[old]
    assert twin.path != new.path  # another answer never takes the file's place
    assert path.read_bytes() == content


def test_a_damaged_shard_is_not_made_official(raw: Callable[..., Store]) -> None:
    store = raw([300])
    (entry,) = store.manifest().entries
    require_intact(store.path, entry)
    path = store.path / entry.path
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path.name}: altered; restore it"):
        require_intact(store.path, entry)


def test_recover_never_takes_labels_for_episodes(raw: Callable[..., Store]) -> None:
    """Not before they are published, nor half a file; nor does it complain of what they have replaced."""
    store = raw([3, 4])
    ((old, new),) = rewrite(store, 0, 0).items()
    (store.path / "data" / f".{Path(new.path).stem[:40]}-{'0' * 16}.open").write_bytes((store.path / new.path).read_bytes())
    report = recover(store)
    assert (report.committed, report.salvaged, report.version) == ((), (), 1)
    assert ["labels that no version lists" in line and new.path in line for line in report.refused] == [True]
    assert ["labels for episodes of the store, not finished" in line for line in report.discarded] == [True]
    assert not [path for path in (store.path / "data").iterdir() if path.name.startswith(".")]
    assert found(store, old) == new
    publish_rewritten(store, {old: new}, "labels")
    drop(store, [1])
    report = recover(Store.open(store.path))
    assert (report.committed, report.refused, report.version) == ((), (), 2)


def test_gc_spares_what_is_new_and_clears_away_what_was_replaced(raw: Callable[..., Store]) -> None:
    store = raw([3, 4])
    ((old, new),) = rewrite(store, 0, 0).items()
    os.utime(store.path / new.path, (0, 0))
    assert found(store, old) == new  # from now on it is in use
    assert collect_garbage(store).deleted == ()
    publish_rewritten(store, {old: new}, "labels")
    assert collect_garbage(store, grace_s=0).deleted == ()  # version 1 has the old one
    drop(store, [1])
    assert collect_garbage(store, grace_s=0).deleted == (old.path,)
    assert store.verify() == []
    unpublished = rewrite(store, 0, 1)[new]
    os.utime(store.path / unpublished.path, (0, 0))
    assert collect_garbage(store).deleted == (unpublished.path,)
    with pytest.raises(RunError, match=r"the labels' shard is missing"):
        publish_rewritten(store, {new: unpublished}, "labels")


def test_compaction_afterwards_keeps_the_labels(raw: Callable[..., Store]) -> None:
    store = raw([3, 4], [5])
    publish_rewritten(store, rewrite(store, 0, 0, 1), "labels")
    before = store.snapshot()
    compact(store)
    assert store.snapshot().digest == before.digest
    assert store.snapshot().episodes.num_labelled.tolist() == [3, 4, 0]
    assert store.verify() == []


def test_an_object_store(s3: str, raw: Callable[..., Store]) -> None:
    store = raw([3, 4], [5], where=f"{s3}/demos")
    rewritten = rewrite(store, 0, 0)
    ((old, new),) = rewritten.items()
    assert found(store, old) == new
    assert publish_rewritten(store, rewritten, "labels") == 3
    again = Store.open(f"{s3}/demos")
    assert again.snapshot().episodes.num_labelled.tolist() == [3, 0, 0]
    assert again.verify() == []
    assert recover(again).version == 3


@pytest.mark.parametrize(
    ("source", "expert", "expected"),
    [
        ("random", "a", "random+expert:a"),
        ("policy+expert:a", "a", "policy+expert:a"),
        ("expert:a", "a", "expert:a"),
        ("expert:aa", "a", "expert:aa+expert:a"),
        ("", "a", "+expert:a"),
        ("x" * 200, "a", "x" * 191 + "+expert:a"),
        ("x", "b" * 300, "+expert:" + "b" * 192),
        ("x", "two\nlines", "x+expert:two?lines"),
    ],
)
def test_the_source_ends_with_the_expert(source: str, expert: str, expected: str) -> None:
    assert labelled_source(source, expert) == expected
    assert labelled_source(expected, expert) == expected


_WRITER = """
import sys
import numpy as np
from distil.store import Store
from distil.store.relabel import EpisodeLabels, rewrite_shard, publish_rewritten
store = Store.open(sys.argv[1])
for round in range(10**6):
    (entry,) = store.manifest().entries
    num = store.snapshot().episodes.length
    new = {f"test-{i:04d}": EpisodeLabels(actions=np.full((n, 1), round, np.float32), labelled=np.ones(n, np.uint8), source="s")
           for i, n in enumerate(num.tolist())}
    publish_rewritten(store, {entry: rewrite_shard(store.path, store.spec, entry, str(round), new)}, "")
    print(round, flush=True)
"""


def test_a_kill_at_any_moment_leaves_whole_versions(raw: Callable[..., Store]) -> None:
    store, rng = raw([300] * 8), generator(0, "kills")
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(store.path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            writer.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.02)))
            writer.send_signal(signal.SIGKILL)
        assert recover(store).committed == ()
        store = Store.open(store.path)
        assert store.verify() == []
        newest = store.snapshot().columns(["expert_action", "labelled"])
        assert len(np.unique(newest["expert_action"][newest["labelled"] == 1])) == 1  # all of one round

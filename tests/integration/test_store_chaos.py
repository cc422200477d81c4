"""What the store promises when everything goes wrong: killed writers, races, full and read-only disks, flipped bits."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec
from distil.store.backend import read_json
from distil.store.compact import compact
from distil.store.files import dump_json
from distil.store.gc import collect_garbage
from distil.store.recover import recover
from distil.types import Episode

FORK = multiprocessing.get_context("fork")


def make_spec(codecs: dict[str, str] | None = None, infos: tuple[str, ...] = ()) -> StoreSpec:
    space = spaces.Dict(state=spaces.Box(-np.inf, np.inf, (3,), np.float64), image=spaces.Box(0, 255, (4, 4), np.uint8))
    action = action_spec(spaces.Box(-1e9, 1e9, (2,), np.float32))
    return StoreSpec(observation=observation_spec(space), action=action, codecs=codecs or {}, infos=infos)


def make_episode(number: int, infos: bool = False) -> Episode:
    """Everything in it follows from its number."""
    rng = np.random.default_rng(number)
    length = int(rng.integers(1, 40))
    actions = rng.normal(size=(length, 2)).astype(np.float32)
    return Episode(
        observations={
            "obs/state": rng.normal(size=(length + 1, 3)),
            "obs/image": np.full((length + 1, 4, 4), number % 256, np.uint8),
        },
        actions=actions,
        rewards=rng.normal(size=length),
        terminated=bool(number % 2),
        truncated=not number % 2,
        expert_actions=actions,
        labelled=np.ones(length, np.uint8),
        acted_by_expert=np.ones(length, np.uint8),
        uid=f"e{number:08d}",
        infos=tuple(f'{{"n": {number}}}' for _ in range(length)) if infos else None,
    )


def assert_intact(episode: Episode) -> None:
    expected = make_episode(int(episode.uid[1:]))
    for leaf, values in expected.observations.items():
        np.testing.assert_array_equal(episode.observations[leaf], values)
    np.testing.assert_array_equal(episode.actions, expected.actions)
    np.testing.assert_array_equal(episode.rewards, expected.rewards)


def write_until_killed(root: Path, worker: int, acknowledged: int) -> None:
    store, rng = Store.open(root), random.Random(worker)
    writer, number = store.writer(f"w{worker}"), worker * 10_000
    for _ in range(8):  # as many as it makes on an idle machine: on a busy one, every version would have to be looked at later
        uids = []
        for _ in range(rng.randrange(1, 5)):
            writer.add(make_episode(number))
            uids.append(f"e{number:08d}\n")
            number += 1
        entry = writer.seal()
        store.commit([entry] if entry else [])
        os.write(acknowledged, "".join(uids).encode())  # only now may anybody count on them
        time.sleep(0.03)
    signal.pause()


def read_acknowledged(path: Path) -> set[str]:
    return set(path.read_text().split("\n")[:-1])


def test_100_killed_writers_lose_no_acknowledged_episode(tmp_path: Path) -> None:
    """Four at a time, killed at random; meanwhile the store is read, recovered and compacted."""
    store, rng, num_kills, worker = Store.create(tmp_path / "demos", make_spec()), random.Random(0), 0, 0
    log, writers = tmp_path / "acknowledged", list[Any]()
    acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while num_kills < 112:
        while len(writers) < 4:
            worker += 1
            writers.append(FORK.Process(target=write_until_killed, args=(store.path, worker, acknowledged)))
            writers[-1].start()
        time.sleep(rng.uniform(0, 0.05))
        victim = writers.pop(rng.randrange(4))
        assert victim.exitcode is None, "a writer failed by itself"
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        num_kills += 1
        if num_kills % 28 == 0:
            recover(Store.open(store.path))
            before = read_acknowledged(log)
            assert before <= set(Store.open(store.path).snapshot().episodes.uid.tolist())
        if num_kills % 40 == 0:
            compact(Store.open(store.path))
    for victim in writers:
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    os.close(acknowledged)
    check_survivors(store.path, read_acknowledged(log))


def check_survivors(root: Path, acknowledged: set[str]) -> None:
    report = recover(Store.open(root))
    assert report.refused == report.writing == ()
    store = Store.open(root)
    newest = store.snapshot()
    uids = newest.episodes.uid.tolist()
    assert len(acknowledged) > 100
    assert acknowledged <= set(uids)
    assert len(set(uids)) == len(uids)
    seen, versions = set[str](), store.versions()
    assert versions == list(range(1, len(versions) + 1))
    for version in versions:  # each is whole, and nothing that came ever goes
        now = set(store.snapshot(version).episodes.uid.tolist())
        assert seen <= now
        seen = now
    assert store.verify() == []
    for index in range(newest.num_episodes):
        assert_intact(newest.episode(index))
    collect_garbage(store, grace_s=0)
    assert store.verify() == []
    assert not [path.name for folder in ("data", "manifests") for path in (root / folder).iterdir() if path.name[0] == "."]


def _commit_each(root: Path, first: int, num: int) -> None:
    store = Store.open(root)
    writer = store.writer("w")
    for number in range(first, first + num):
        writer.add(make_episode(number))
        entry = writer.seal()
        store.commit([entry] if entry else [])


def test_two_processes_of_200_commits_each_make_400(tmp_path: Path) -> None:
    root = Store.create(tmp_path / "demos", make_spec()).path
    processes = [FORK.Process(target=_commit_each, args=(root, 1000 * number, 200)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    store = Store.open(root)
    assert store.versions() == list(range(1, 401))
    assert [len(store.manifest(version).entries) for version in store.versions()] == list(range(1, 401))
    assert store.snapshot().num_episodes == 400
    assert store.verify() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", path], check=False).returncode:
        pytest.skip("a small disk needs root, and the right to mount")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_disk_that_fills_loses_nothing(small_disk: Path) -> None:
    store = Store.create(small_disk / "demos", make_spec())
    writer, number = store.writer("w", target_bytes=1), 0

    def fill() -> None:
        nonlocal number
        while True:
            writer.add(make_episode(number))
            entry = writer.seal()
            store.commit([entry] if entry else [])
            number += 1

    with pytest.raises(RunError, match=r"^[^\n]*no disk space left; free some[^\n]*$"):
        fill()
    assert number > 10
    assert not list((store.path / "data").glob(".*"))
    assert not list((store.path / "manifests").glob(".*"))
    again = Store.open(store.path)
    assert again.verify() == []
    assert again.snapshot().num_episodes == number
    for version in range(1, 9):  # for a shard and two commits, each of which may join segments
        (small_disk / "demos" / "manifests" / f"v{version:012d}.json").unlink()
    entry = writer.seal()
    entries = [entry] if entry else []
    assert recover(again).num_episodes + again.commit(entries).num_episodes >= number + 1
    assert again.verify() == []


def test_a_read_only_disk_is_read_and_refuses_writers(small_disk: Path) -> None:
    store = Store.create(small_disk / "demos", make_spec())
    writer = store.writer("w")
    writer.add(make_episode(1))
    entry = writer.seal()
    store.commit([entry] if entry else [])
    writer.add(make_episode(2))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    again = Store.open(store.path)
    assert_intact(again.snapshot().episode(0))
    assert again.verify() == []
    for call in (
        writer.seal,
        lambda: Store.create(small_disk / "other", make_spec()),
        lambda: again.publish(type(again.manifest())(version=2, store=again.uuid)),
    ):
        with pytest.raises(RunError, match=r"^[^\n]*no permission \(Read-only file system\); make the folder writable[^\n]*$"):
            call()


def test_a_vanished_shard_is_named(tmp_path: Path) -> None:
    _commit_each(Store.create(tmp_path / "demos", make_spec()).path, 0, 3)
    store = Store.open(tmp_path / "demos")
    snapshot = store.snapshot()
    path = store.path / snapshot.entries[1].path
    path.unlink()
    assert [path.name in fault for fault in store.verify()] == [True]
    for call in (lambda: snapshot.columns(["obs/state"]), lambda: snapshot.episode(1), Store.open(store.path).snapshot):
        with pytest.raises(RunError, match=f"{path.name}: the shard is missing"):
            call()
    assert_intact(snapshot.episode(0))


def filled(root: Path, codecs: dict[str, str]) -> Path:
    store = Store.create(root, make_spec(codecs, infos=("n",)))
    for first in (0, 10):
        writer = store.writer("w")
        for number in range(first, first + 3):
            writer.add(make_episode(number, infos=True))
        entry = writer.seal()
        store.commit([entry] if entry else [])
    return store.path


def read_all(root: Path) -> list[Exception]:
    """Read whatever can be read; what comes has the right shape, or is one of the two errors in one line."""
    faults = list[Exception]()

    def attempt(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (InputError, RunError) as error:
            faults.append(error)
            return None

    store = attempt(lambda: Store.open(root))
    snapshot = attempt(store.snapshot) if store else None
    for index in range(snapshot.num_episodes if snapshot else 0):
        if episode := attempt(lambda index=index: snapshot.episode(index)):
            assert episode.observations["obs/state"].shape == (episode.length + 1, 3)
            assert episode.observations["obs/image"].shape == (episode.length + 1, 4, 4)
            assert episode.actions.shape == (episode.length, 2)
    if snapshot and (columns := attempt(lambda: snapshot.columns(["obs/state", "obs/image", "reward"]))):
        assert {len(values) for values in columns.values()} == {snapshot.num_transitions + snapshot.num_episodes}
    assert not any("\n" in str(fault) for fault in faults)
    return faults


def in_child(work: Callable[..., None], *args: Any) -> None:
    """Run in a process of its own, so that a crash is seen as one."""
    process = FORK.Process(target=work, args=args)
    process.start()
    process.join(120)
    assert process.exitcode == 0


def _flip_bits(root: Path, num: int) -> None:
    rng, store = random.Random(0), Store.open(root)
    files = [path for path in root.rglob("*") if path.suffix in (".arrow", ".json")]
    assert len(files) == 5
    for _ in range(num):
        path = rng.choice(files)
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        faults = [str(error) for error in read_all(root)] if path.name == "store.json" else store.verify()
        assert any(path.name in fault for fault in faults), (path, faults)
        read_all(root)
        path.write_bytes(content)
    assert store.verify() == []


@pytest.mark.parametrize("codecs", [{}, {"obs/image": "lz4"}], ids=["raw", "lz4"])
def test_500_flipped_bits_are_reported_and_crash_nobody(tmp_path: Path, codecs: dict[str, str]) -> None:
    in_child(_flip_bits, filled(tmp_path / "demos", codecs), 500)


def _fuzz_shards(root: Path, num: int) -> None:
    rng = random.Random(1)
    shard = next((root / "data").iterdir())
    content = shard.read_bytes()
    extremes = [b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x01"]
    for _ in range(num):
        mutant = bytearray(content)
        for _ in range(rng.randrange(1, 4)):  # headers are at the beginning, the footer is at the end
            at = rng.choice([rng.randrange(2048), len(content) - 1 - rng.randrange(6144), len(content) - 1 - rng.randrange(16)])
            what = rng.choice([*extremes, rng.randbytes(4)])
            mutant[at : at + len(what)] = what
        shard.write_bytes(mutant[: len(content)])
        read_all(root)
    shard.write_bytes(content)
    assert read_all(root) == []


@pytest.mark.parametrize("codecs", [{}, {"obs/image": "lz4"}], ids=["raw", "lz4"])
def test_foreign_headers_and_footers_crash_nobody(tmp_path: Path, codecs: dict[str, str]) -> None:
    in_child(_fuzz_shards, filled(tmp_path / "demos", codecs), 700)


def _fuzz_manifest(root: Path, num: int) -> None:
    rng, path = random.Random(2), root / "manifests" / "v000000000002.json"
    content = read_json(root, "manifests/v000000000002.json")
    odd = [None, True, -1, 0, 1 << 62, 1 << 80, 1.5, "", "../x", "data/../../etc/passwd", "/etc/passwd", [], {}, "data/x.arrow"]
    for _ in range(num):
        data = {**content, "shards": [dict(item) for item in content["shards"]]}
        where = rng.choice([data, *data["shards"]])
        where[rng.choice(sorted(where))] = rng.choice(odd)
        path.write_bytes(dump_json(data))
        for fault in read_all(root):
            assert str(root) in str(fault)
    path.write_bytes(dump_json(content))
    assert read_all(root) == []


def test_foreign_manifests_crash_nobody_and_read_nothing_else(tmp_path: Path) -> None:
    in_child(_fuzz_manifest, filled(tmp_path / "demos", {}), 300)

"""Stores in a real (local) S3 server, and in memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.store import ShardEntry, Store, StoreSpec
from distil.store.backend import backend
from distil.store.compact import compact
from distil.store.footer import Footer
from distil.store.gc import collect_garbage
from distil.store.history import diff, drop, summaries
from distil.store.objects import ObjectBackend
from distil.store.recover import recover

pytest.importorskip("obstore", reason="obstore isn't installed")


def sealed(store: Store, *episodes: Any, name: str = "w") -> ShardEntry:
    writer = store.writer(name)
    for episode in episodes:
        writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    return entry


@pytest.fixture(params=["s3", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DISTIL_CACHE", str(tmp_path / "cache"))
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/demos"
    return f"{request.getfixturevalue('s3')}/runs/demos"


def test_a_store_lives_in_a_bucket(url: str, spec: StoreSpec, make_episode: Any) -> None:
    with pytest.raises(InputError, match="no store there"):
        Store.open(url)
    store = Store.open_or_create(url, spec)
    with pytest.raises(InputError, match="a store already exists"):
        Store.create(url, spec)
    first = store.commit([sealed(store, make_episode(1, 3), make_episode(2, 4))])
    store.commit([sealed(store, make_episode(3, 5))])
    again = Store.open(f"{url}/")
    assert (again.uuid, again.versions(), str(again.path)) == (store.uuid, [1, 2], url)
    assert again.snapshot(1).digest == first.digest
    np.testing.assert_array_equal(again.snapshot().episode(2).observations["obs"], make_episode(3, 5).observations["obs"])
    assert again.snapshot().columns(["obs"])["obs"].shape == (15, 2)
    assert again.verify() == []
    with pytest.raises(RunError, match="would be in the store twice"):
        again.commit([sealed(store, make_episode(3, 7))])


def test_two_committers_on_one_version_both_count(url: str, spec: StoreSpec, make_episode: Any) -> None:
    store = Store.create(url, spec)
    entries = [sealed(store, make_episode(number, 2)) for number in range(3)]
    head = store.manifest()
    store.commit(entries[:1])
    stale = store.publish(type(head)(version=1, store=store.uuid, tail=(entries[1],)))
    assert stale is None
    store.commit(entries[1:])
    assert store.commit(entries).num_episodes == 3
    assert store.versions() == [1, 2]


def test_commits_of_two_processes_all_count(s3: str, spec: StoreSpec, make_episode: Any, tmp_path: Path) -> None:
    store = Store.create(f"{s3}/demos", spec)
    code = (
        "import json, sys\nfrom distil.store import ShardEntry, Store\nstore = Store.open(sys.argv[1])\n"
        "for item in json.loads(sys.argv[2]):\n    store.commit([ShardEntry(**item)])\n"
    )
    parts = [[sealed(store, make_episode(100 * n + i, 2)).to_json() for i in range(10)] for n in range(2)]
    processes = [subprocess.Popen([sys.executable, "-c", code, str(store.path), json.dumps(part)]) for part in parts]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert store.versions() == list(range(1, 21))
    assert [len(store.manifest(version).entries) for version in store.versions()] == list(range(1, 21))
    assert store.verify() == []


def test_a_large_shard_goes_up_in_parts_and_comes_down_whole(s3: str, spec: StoreSpec, make_episode: Any) -> None:
    store, episode = Store.create(f"{s3}/demos", spec), make_episode(1, 300_000)
    entry = sealed(store, episode)
    assert entry.num_bytes > 2 * 5 * 2**20  # obstore's parts have 5 MiB
    np.testing.assert_array_equal(store.commit([entry]).episode(0).observations["obs"], episode.observations["obs"])
    assert store.verify() == []
    assert not list(backend(store.path).staging().iterdir())


def test_damage_and_absence_are_named(url: str, spec: StoreSpec, make_episode: Any) -> None:
    store = Store.create(url, spec)
    entry = sealed(store, make_episode(1, 300))
    store.commit([entry])
    files, name = backend(store.path), entry.path.rsplit("/", 1)[-1]
    content = files.get(entry.path)
    files.put(entry.path, content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    assert Store.open(url).snapshot().num_episodes == 1  # the index is intact
    with pytest.raises(RunError, match=f"{name}: altered"):
        Store.open(url).snapshot().episode(0)
    for damaged in (content[:-3], content + b"abc", b""):
        files.put(entry.path, damaged)
        with pytest.raises(RunError, match=name):
            Store.open(url).snapshot().episode(0)
        assert [name in fault for fault in store.verify()] == [True]
    files.delete(entry.path)
    files.delete(entry.path)
    with pytest.raises(RunError, match=f"{name}: the shard is missing"):
        Store.open(url).snapshot()
    with pytest.raises(RunError, match="missing, so it can't be committed"):
        store.commit([type(entry)(**{**entry.to_json(), "digest": "0" * 32})])


def test_housekeeping_works_remotely(url: str, spec: StoreSpec, make_episode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.create(url, spec)
    for number in range(4):
        store.commit([sealed(store, make_episode(number, 3))])
    before = store.snapshot().digest
    store.tag("three", 3)
    report = compact(store)
    assert (report.num_before, report.num_after, store.snapshot().digest) == (4, 1, before)
    lost = sealed(store, make_episode(9, 3))
    assert recover(store).committed == (lost.path,)
    drop(store, [1, 2, 4])
    assert [item.version for item in summaries(store)] == [3, 5, 6]
    assert diff(store, "three", 6).added == ("test-0003", "test-0009")
    assert collect_garbage(store).deleted == ()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 30 * 86_400)
    report_gc = collect_garbage(store)
    assert len(report_gc.deleted) == 1  # the fourth shard: the other three are version 3's
    assert store.snapshot("three").episode(2).uid == "test-0002"
    assert store.verify() == []


def test_an_old_shard_is_renewed_by_its_commit(
    url: str, spec: StoreSpec, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(url, spec)
    entry = sealed(store, make_episode(1, 3))
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 2 * 86_400)
        snapshot = store.commit([entry])
    assert snapshot.entries[0].path != entry.path
    assert snapshot.entries[0].digest == entry.digest
    assert store.commit([entry]).version == 1
    backend(store.path).delete(entry.path)
    assert store.commit([entry]).version == 1
    assert Store.open(url).snapshot().episode(0).length == 3


def test_a_service_that_refuses_is_one_line(s3: str, spec: StoreSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"^s3://nobody-has-this/demos/store\.json: [^\n]*check that the bucket exists$"):
        Store.create("s3://nobody-has-this/demos", spec)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"^s3://no-server/demos/store\.json: [^\n]*check the network[^\n]*$"):
        Store.create("s3://no-server/demos", spec)


def test_without_obstore_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InputError, match=r"pip install 'distil\[remote\]'"):
        Store.open(f"s3://bucket/{uuid.uuid4().hex}")


def test_shards_are_read_and_checked_at_the_same_time(
    spec: StoreSpec, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to an object store takes long; all of a commit's wait together, and none is for what a report brought."""
    store = Store.create(f"memory://{uuid.uuid4().hex}/demos", spec)
    told, read = ([sealed(store, make_episode(10 * n + i, 2)) for i in range(4)] for n in (1, 2))
    for entry in told:
        store.shards.tell(entry, Footer.read(store.path, entry))
    together = {"get_ranges": threading.Barrier(4), "touch": threading.Barrier(8)}

    def waiting(name: str) -> Any:
        real = getattr(ObjectBackend, name)

        def call(*args: Any) -> Any:
            together[name].wait(10)  # BrokenBarrierError, unless so many come
            return real(*args)

        return call

    for name in together:
        monkeypatch.setattr(ObjectBackend, name, waiting(name))
    assert store.commit([*told, *read]).num_episodes == 8

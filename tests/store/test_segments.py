from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distil.errors import InputError, RunError
from distil.store import ShardEntry, Store
from distil.store.backend import backend
from distil.store.compact import compact
from distil.store.entry import ShardEntry as Entry
from distil.store.files import dump_json
from distil.store.folder import FolderBackend
from distil.store.footer import read_index
from distil.store.gc import collect_garbage
from distil.store.history import drop, droppable, summaries
from distil.store.manifest import Manifest, read_manifest, write_manifest
from distil.store.recover import recover
from distil.store.segments import FANOUT, MAX_TAIL, Listing, Segment, fold, segment_key
from distil.store.shards import Shards
from distil.store.versions import list_versions, manifest_key

Fill = Callable[..., Store]
ENTRY = Entry(path="data/a.arrow", num_bytes=1000, num_rows=12, num_episodes=2, num_transitions=10, digest="0" * 32)


def entry(number: int) -> ShardEntry:
    return replace(ENTRY, path=f"data/a{number}.arrow")


def grown(root: Path, num: int, by: int = 1) -> list[Manifest]:
    """Write `num` versions, each with `by` shards more."""
    out = [Manifest(version=0, store="s")]
    for number in range(num):
        out.append(write_manifest(root, out[-1].then([entry(by * number + i) for i in range(by)], str(number))))
    return out


def read(root: Path, version: int, **options: Any) -> Manifest:
    return read_manifest(root, version, store="s", row_bytes=8, **options).load(root)


def sealed(store: Store, *episodes: Any) -> ShardEntry:
    writer = store.writer("w")
    for episode in episodes:
        writer.add(episode)
    shard = writer.seal()
    assert shard is not None
    return shard


@pytest.fixture
def long(fill: Fill, make_episode: Any) -> Store:
    """A store of 40 versions, each with one episode more."""
    store = fill([2])
    for number in range(1, 40):
        store.commit([sealed(store, make_episode(number, 2))], str(number))
    return store


def segments(store: Store) -> list[Path]:
    return sorted((store.path / "segments").iterdir())


@pytest.mark.parametrize("by", [1, 5, 40])
def test_versions_are_what_was_written(tmp_path: Path, by: int) -> None:
    for version in grown(tmp_path, 90, by)[1:]:
        found = read(tmp_path, version.version)
        assert found.entries == version.entries == tuple(entry(i) for i in range(by * version.version))
        assert found.sums == version.sums
        assert (found.sums.num_shards, found.message) == (by * version.version, str(version.version - 1))


@given(st.lists(st.integers(1, 300), max_size=60))
def test_segments_keep_the_order_and_stay_few(sizes: list[int]) -> None:
    kept, num = list[Segment](), 0
    for i, size in enumerate(sizes):
        num_kept = fold(kept, size)
        num += size
        new = size + sum(segment.num_shards for segment in kept[num_kept:])
        kept = [*kept[:num_kept], Segment(str(i), new, lambda: Listing({}))]
    assert sum(segment.num_shards for segment in kept) == num
    assert len(kept) <= 2 * FANOUT * max(1, num.bit_length())


def test_a_commit_costs_the_same_however_many_there_were(
    long: Store, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 8, number 16: neither folders nor older versions are read, and what is written is bounded."""
    calls, written = list[str](), 0

    def spy(name: str) -> None:
        real = getattr(FolderBackend, name)

        def call(self: FolderBackend, *args: Any) -> Any:
            nonlocal written
            calls.append(name)
            if name == "put_if_absent":
                written += len(args[1])
            return real(self, *args)

        monkeypatch.setattr(FolderBackend, name, call)

    shards = [sealed(long, make_episode(number, 2)) for number in range(100, 164)]
    long.commit([])
    for name in ("list", "get", "put", "put_if_absent", "size", "get_ranges"):
        spy(name)
    for shard in shards:
        long.commit([shard])
    assert {name for name in calls if calls.count(name) < len(shards)} <= {"get_ranges"}
    assert not {"list", "get", "put"} & set(calls)
    assert calls.count("put_if_absent") <= len(shards) * (1 + 2 / MAX_TAIL)
    assert written < len(shards) * 5000


def test_an_old_store_is_read_and_added_to(fill: Fill, make_episode: Any) -> None:
    """Whole manifests, as distil 0.1.0 wrote them."""
    store = fill([2])
    shards = [sealed(store, make_episode(number, 2)) for number in range(1, 50)]
    old = store.manifest()
    for version in range(2, 40):
        data = Manifest(version=version, store=store.uuid, tail=(*old.tail, *shards[: version - 1]), message="old").to_json()
        data.pop("num_shards"), data.pop("num_bytes")
        assert data["format"] == 1
        backend(store.path).put_if_absent(manifest_key(version), dump_json(data))
    store = Store.open(store.path)
    assert (store.manifest().version, store.snapshot().num_episodes, store.verify()) == (39, 39, [])
    assert summaries(store)[20].num_shards == 21
    assert store.commit(shards).num_episodes == 50
    again = Store.open(store.path)
    assert (again.snapshot().num_episodes, again.snapshot(39).num_episodes, again.verify()) == (50, 39, [])
    assert json.loads((store.path / manifest_key(40)).read_text())["format"] == 2


def test_dropping_versions_frees_their_segments_and_breaks_no_other(long: Store, make_episode: Any) -> None:
    for first in (100, 200):
        long.commit([sealed(long, make_episode(first + i, 2)) for i in range(MAX_TAIL + 1)])
    before = len(segments(long))
    drop(long, list(range(1, 40, 2)))
    collect_garbage(long, grace_s=0)
    assert Store.open(long.path).verify() == []
    assert [long.snapshot(version).num_episodes for version in long.versions()] == [*range(2, 41, 2), 57, 74]
    drop(long, droppable(long, 1))
    collect_garbage(long, grace_s=0)
    assert len(segments(long)) == 2 * len(long.manifest().segments) < before
    assert long.commit([sealed(long, make_episode(50, 2))]).num_episodes == 75
    compact(long)
    assert long.manifest().segments == ()
    assert long.snapshot().num_episodes == 75
    assert Store.open(long.path).verify() == []


def test_a_killed_commit_leaves_a_segment_for_gc(long: Store, make_episode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = [sealed(long, make_episode(number, 2)) for number in range(100, 100 + MAX_TAIL)]
    real = FolderBackend.put_if_absent

    def killed(self: FolderBackend, key: str, content: bytes) -> None:
        if key.startswith("manifests/"):
            raise KeyboardInterrupt
        real(self, key, content)

    monkeypatch.setattr(FolderBackend, "put_if_absent", killed)
    before = segments(long)
    with pytest.raises(KeyboardInterrupt):
        long.commit(shards)
    monkeypatch.undo()
    orphans = set(segments(long)) - set(before)
    assert {orphan.suffix for orphan in orphans} == {".json", ".arrow"}
    assert long.manifest().version == 40
    collect_garbage(long)
    assert all(orphan.exists() for orphan in orphans)
    for orphan in orphans:
        os.utime(orphan, (0, 0))
    collect_garbage(long, dry_run=True)
    assert all(orphan.exists() for orphan in orphans)
    collect_garbage(long)
    assert segments(long) == before
    assert recover(long).num_episodes == len(shards)
    assert long.verify() == []


def test_who_comes_second_leaves_no_segment(long: Store, make_episode: Any) -> None:
    head = long.manifest()
    behind = head.then([sealed(long, make_episode(number, 2)) for number in range(100, 100 + MAX_TAIL)], "")
    long.commit([sealed(Store.open(long.path), make_episode(200, 2))])
    before = segments(long)
    assert long.publish(behind) is None
    assert segments(long) == before


def test_a_relabelling_keeps_the_segments_before_it(long: Store, make_episode: Any) -> None:
    head, other = long.manifest(), sealed(long, make_episode(39, 2))
    long.publish(head.listing((*head.entries[:-1], other), ""))
    assert {segment.name for segment in head.segments} <= {segment.name for segment in long.manifest().segments}
    assert Store.open(long.path).manifest().entries == (*head.entries[:-1], other)


def _damages(path: Path) -> Iterator[bytes]:
    content, rng = path.read_bytes(), random.Random(0)
    yield b""
    yield content[:-2]
    yield b"[" * 100_000
    for _ in range(20):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        yield bytes(flipped)


def test_a_damaged_segment_is_named_once_and_nothing_is_collected(long: Store) -> None:
    path = long.path / segment_key(long.manifest().segments[0].name)
    content = path.read_bytes()
    for damaged in _damages(path):
        path.write_bytes(damaged)
        store = Store.open(long.path)
        assert [path.name in fault for fault in store.verify()] == [True]
        for call in (store.snapshot, store.manifest, lambda store=store: collect_garbage(store, grace_s=0)):
            with pytest.raises(RunError, match=rf"^[^\n]*{path.name}: [^\n]*restore it from a copy[^\n]*$"):
                call()
        assert store.snapshot(1).num_episodes == 1
    path.unlink()
    with pytest.raises(RunError, match=f"{path.name}: the list of shards is missing"):
        Store.open(long.path).snapshot()
    path.write_bytes(content)
    assert Store.open(long.path).verify() == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"segments": 5}, "refused"),
        ({"segments": [["../../etc/passwd", 3]]}, "makes no sense"),
        ({"segments": [["0" * 32 + "-" + "0" * 8, -3]]}, "makes no sense"),
        ({"segments": [["0" * 32 + "-" + "0" * 8, 3]]}, "is missing"),
        ({"segments": [[5]]}, "refused"),
        ({"num_shards": "many"}, "sums make no sense"),
        ({"num_shards": 1 << 80}, "totals don't match"),
        ({"format": 3}, "format version 3"),
        ({"format": True}, "format version True"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    newest = grown(tmp_path, 20)[-1]
    (tmp_path / manifest_key(20)).write_bytes(dump_json(newest.to_json() | change))
    with pytest.raises((RunError, InputError), match=text):
        read(tmp_path, 20)


def test_a_segment_of_another_name_or_store_is_refused(tmp_path: Path) -> None:
    first, second = (segment for segment in grown(tmp_path, 40)[-1].segments[:2])
    (tmp_path / segment_key(first.name)).write_bytes((tmp_path / segment_key(second.name)).read_bytes())
    with pytest.raises(RunError, match=f"{first.name}.json: refused: it belongs to another store or has another name"):
        read(tmp_path, 40)
    assert list_versions(tmp_path)[-1] == 40


def test_an_object_store(s3: str, spec: Any, make_episode: Any) -> None:
    store = Store.create(f"{s3}/demos", spec)
    for number in range(2 * MAX_TAIL + 4):
        store.commit([sealed(store, make_episode(number, 2))])
    again = Store.open(f"{s3}/demos")
    assert (len(again.manifest().segments), again.snapshot().num_episodes, again.verify()) == (2, 36, [])
    drop(again, droppable(again, 1))
    assert collect_garbage(again, grace_s=0).deleted == ()
    assert Store.open(f"{s3}/demos").verify() == []


def test_a_store_opens_without_the_footers_of_its_segments(long: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes, listed = long.snapshot().episodes, {entry for segment in long.manifest().segments for entry in segment.entries}
    read = list[ShardEntry]()

    def spy(root: Path, shard: ShardEntry) -> Any:
        read.append(shard)
        return read_index(root, shard)

    monkeypatch.setattr("distil.store.shards.read_index", spy)
    again = Store.open(long.path)
    found = again.snapshot().episodes
    for name in ("uid", "digest", "shard", "first_row", "total_reward"):
        assert getattr(found, name).tolist() == getattr(episodes, name).tolist()
    again.commit(long.manifest().entries)
    assert again.uids() == set(episodes.uid.tolist())
    assert len(listed) == 34
    assert set(read) == set(long.manifest().entries) - listed


def test_a_damaged_index_is_named_and_a_missing_one_is_read_from_the_footers(long: Store) -> None:
    digest, path = long.snapshot().digest, next(path for path in segments(long) if path.suffix == ".arrow")
    for damaged in _damages(path):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=rf"^[^\n]*{path.name}: refused: [^\n]*; remove it: [^\n]*$"):
            Store.open(long.path).snapshot()
    assert [path.name in fault for fault in long.verify()] == [True]
    path.unlink()
    assert Store.open(long.path).snapshot().digest == digest
    assert long.verify() == []


def test_an_index_that_differs_from_the_footers_is_found(long: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    joined = Shards.joined

    def wrong(shards: Shards, manifest: Manifest) -> Any:
        index = joined(shards, manifest)
        at = index.schema.get_field_index("seed")
        return index.set_column(at, index.schema.field(at), pc.add(index.column(at), 1))

    monkeypatch.setattr(Shards, "joined", wrong)
    long.publish(long.manifest().listing([], "emptied"))
    long.commit(long.manifest(40).entries)
    (fault,) = long.verify()
    assert ".arrow: it isn't what the shards' footers have; remove it" in fault

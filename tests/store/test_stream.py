from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storebed import check, starts, transitions

from distil.errors import InputError, RunError
from distil.spaces import action_spec, observation_spec
from distil.store import Sampler, Snapshot, Store, StoreSpec
from distil.store.memory import RowMemory
from distil.store.order import Cursor
from distil.store.stream import StreamSampler
from distil.store.windows import Layout, Windows
from distil.types import Episode

Fill = Callable[..., Store]
LENGTHS = [30, 190, 1, 77, 5, 400, 64, 65]
BUDGET = (1 << 20) + 30_000  # some groups of some blocks each
WINDOWS: list[dict[str, Any]] = [
    {},
    {"obs_horizon": 3, "chunk": 4},
    {"n_step": 3},
    {"n_step": 1, "every": True, "rewards": False},
    {"goal": "end", "chunk": 2},
    {"obs_horizon": 2, "goal": 7, "n_step": 4, "every": True},
]


@pytest.fixture
def snapshot(fill: Fill) -> Snapshot:
    return fill(LENGTHS, [0, 1, 2, 0, 1, 2, 0, 1]).snapshot()


def partly_labelled(
    tmp_path: Path, spec: StoreSpec, make_episode: Callable[..., Episode]
) -> tuple[Snapshot, dict[int, Episode]]:
    store = Store.create(tmp_path / "partial", spec)
    writer, episodes = store.writer("w"), {}
    for number, length in enumerate(LENGTHS):
        labelled = (np.random.default_rng(number).random(length) < (0.0, 0.5, 1.0, 0.1)[number % 4]).astype(np.uint8)
        episodes[number] = make_episode(number, length, labelled=labelled)
        writer.add(episodes[number])
    entry = writer.seal()
    assert entry
    return store.commit([entry]), episodes


@pytest.mark.parametrize("windows", WINDOWS)
def test_every_sample_is_right_in_both_tiers(
    tmp_path: Path, spec: StoreSpec, make_episode: Callable[..., Episode], windows: dict[str, Any]
) -> None:
    """CORRECTNESS 1, 2, 6 and 10: windows stay inside an episode, and both tiers have the same multiset of samples."""
    snapshot, episodes = partly_labelled(tmp_path, spec, make_episode)
    memory, streamed = Sampler(snapshot, **windows), StreamSampler(snapshot, memory_budget=BUDGET, **windows)
    assert streamed.num_samples == memory.num_samples > 300
    assert len(streamed._blocks.number) > 2 * streamed._blocks.in_group
    want = [start for batch in memory.scan(50) for start in starts(batch)]
    seen: list[float] = []
    for batch in streamed.batches(batch_size=memory.num_samples, seed=3, num_batches=2):
        check(batch, episodes, Windows(**windows))
        assert sorted(starts(batch)) == sorted(want) != starts(batch)
    for batch in streamed.scan(50):
        check(batch, episodes, Windows(**windows))
        seen += starts(batch)
    assert seen == want
    for batch in memory.scan(50):
        check(batch, episodes, Windows(**windows))


def test_an_epoch_has_every_sample_once(snapshot: Snapshot) -> None:
    """CORRECTNESS 10: also where batches cross groups and epochs."""
    sampler = StreamSampler(snapshot, memory_budget=BUDGET)
    num = sampler.num_samples
    stream = [start for batch in sampler.batches(batch_size=num // 8, seed=1, num_batches=26) for start in starts(batch)]
    epochs = [stream[:num], stream[num : 2 * num], stream[2 * num : 3 * num]]
    assert all(sorted(epoch) == transitions(LENGTHS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 200), before=st.integers(0, 12), seed=st.integers(0, 3))
def test_resuming_gives_the_same_batches(snapshot: Snapshot, batch_size: int, before: int, seed: int) -> None:
    """CORRECTNESS 11: a cursor continues the stream exactly."""
    sampler = StreamSampler(snapshot, memory_budget=BUDGET)
    whole = [starts(batch) for batch in sampler.batches(batch_size=batch_size, seed=seed, num_batches=before + 3)]
    cursor = Cursor().advance(before * batch_size, sampler.num_samples)
    rest = StreamSampler(snapshot, memory_budget=BUDGET).batches(batch_size=batch_size, seed=seed, cursor=cursor, num_batches=3)
    assert [starts(batch) for batch in rest] == whole[before:]


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_ranks_share_the_same_global_batches(snapshot: Snapshot, world_size: int) -> None:
    """CORRECTNESS 28 (data): the global batch is the same at any world size, and resumes at another one."""
    sampler = StreamSampler(snapshot, memory_budget=BUDGET, chunk=2)
    whole = [starts(batch) for batch in sampler.batches(batch_size=90, seed=5, num_batches=12)]
    cursor = Cursor().advance(4 * 90, sampler.num_samples)
    ranks = [
        [
            starts(batch)
            for batch in sampler.batches(batch_size=90, seed=5, cursor=cursor, rank=rank, world_size=world_size, num_batches=8)
        ]
        for rank in range(world_size)
    ]
    assert [sum(parts, []) for parts in zip(*ranks, strict=True)] == whole[4:]  # noqa: RUF017


def test_the_order_depends_on_the_content_and_the_seed_only(fill: Fill) -> None:
    """CORRECTNESS 5 and 11: not on shards."""
    one, other = fill(LENGTHS, name="a").snapshot(), fill(LENGTHS, [2, 0, 1, 0, 2, 1, 1, 0], name="b").snapshot()

    def order(snapshot: Snapshot, seed: int) -> list[list[float]]:
        return [
            starts(b) for b in StreamSampler(snapshot, memory_budget=BUDGET).batches(batch_size=50, seed=seed, num_batches=9)
        ]

    assert order(one, 0) == order(other, 0) != order(one, 1)


def test_batches_own_their_memory(snapshot: Snapshot) -> None:
    """Neither training in place nor the next group changes a batch, nor the other way round."""
    sampler = StreamSampler(snapshot, memory_budget=BUDGET)
    want = [starts(batch) for batch in sampler.batches(batch_size=64, seed=0, num_batches=30)]
    kept = list(sampler.batches(batch_size=64, seed=0, num_batches=30))
    assert [starts(batch) for batch in kept] == want
    found = []
    for batch in sampler.batches(batch_size=64, seed=0, num_batches=30):
        found.append(starts(batch))
        batch.observations["obs"][...] = np.nan
    assert found == want


@pytest.fixture
def wide(tmp_path: Path, make_episode: Callable[..., Episode]) -> Snapshot:
    """Episodes with images, some labelled in part, and weights."""
    space = spaces.Dict(image=spaces.Box(0, 255, (32, 32, 3), np.uint8), number=spaces.Box(-np.inf, np.inf, (), np.float32))
    action = action_spec(spaces.Box(-1e9, 1e9, (1,), np.float32))
    store, entries = Store.create(tmp_path / "wide", StoreSpec(observation=observation_spec(space), action=action)), []
    for shard in range(2):
        writer = store.writer(f"w{shard}")
        for number in range(shard, len(LENGTHS), 2):
            rows = 1000 * number + np.arange(LENGTHS[number] + 1)
            images = np.random.default_rng(number).integers(0, 255, (len(rows), 32, 32, 3), np.uint8)
            labelled = (np.random.default_rng(number).random(LENGTHS[number]) < (1, 0.6)[number % 3 == 1]).astype(np.uint8)
            observations = {"obs/image": images, "obs/number": rows.astype(np.float32)}
            writer.add(make_episode(number, LENGTHS[number], observations=observations, labelled=labelled))
        entries.append(writer.seal())
    snapshot = store.commit([entry for entry in entries if entry])
    return snapshot.weighted(np.arange(1.0, len(LENGTHS) + 1), 1.0)


@pytest.mark.parametrize(("batch_size", "rank", "world_size"), [(7, 0, 1), (64, 0, 1), (600, 0, 1), (64, 1, 2)])
def test_wide_samples_lie_in_the_order_of_those_that_are_gathered(
    wide: Snapshot, monkeypatch: pytest.MonkeyPatch, batch_size: int, rank: int, world_size: int
) -> None:
    """CORRECTNESS 5, 10 and 11: the same batches, also those across groups and epochs, and those after a resume."""
    budget = (1 << 20) + 256 * 3500
    sampler = StreamSampler(wide, memory_budget=budget)
    assert sampler._layout.is_laid
    assert len(sampler._blocks) > 2 * sampler._blocks.in_group
    common: dict[str, Any] = {"batch_size": batch_size, "seed": 3, "rank": rank, "world_size": world_size}
    num = 2 * sampler.num_samples // batch_size + 2
    found = [*sampler.batches(num_batches=num, **common)]
    found += [*sampler.batches(num_batches=num, cursor=Cursor(epoch=1, offset=5), **common)]
    monkeypatch.setattr(Layout, "is_laid", False)
    gathered = StreamSampler(wide, memory_budget=budget)
    want = [*gathered.batches(num_batches=num, **common)]
    want += [*gathered.batches(num_batches=num, cursor=Cursor(epoch=1, offset=5), **common)]
    for one, other in zip(found, want, strict=True):
        assert {**one.observations}.keys() == {**other.observations}.keys()
        for name, values in one.observations.items():
            np.testing.assert_array_equal(values, other.observations[name])
        for name in ("actions", "is_pad", "weights"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_wide_batches_are_views_of_memory_that_is_used_again(wide: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two groups, unless a consumer keeps their batches, which then stay as they are."""
    monkeypatch.setattr("distil.store.order._AHEAD", 1)  # as with large images: a batch is fetched at a time
    used, array = list[memoryview](), RowMemory.array

    def watched(memory: RowMemory, num_rows: int) -> np.ndarray:
        found = array(memory, num_rows)
        used.append(memory._bytes)
        return found

    monkeypatch.setattr(RowMemory, "array", watched)
    sampler = StreamSampler(wide, memory_budget=(1 << 20) + 256 * 3500)
    num = 2 * sampler.num_samples // 16
    numbers = []
    for batch in sampler.batches(batch_size=16, seed=0, num_batches=num):
        image = batch.observations["obs/image"]
        assert image.base is not None
        numbers.append(batch.observations["obs/number"][:, 0].copy())
        image[...] = 0  # a batch is its own: nothing else shows these samples
    assert len(used) > 6
    assert len({id(memory) for memory in used}) <= 4  # the first ones of both may lack room for what the group before leaves
    kept = list(sampler.batches(batch_size=16, seed=0, num_batches=num))
    images = {
        int(n[0]): i
        for b in Sampler(wide).scan(64)
        for n, i in zip(b.observations["obs/number"], b.observations["obs/image"], strict=True)
    }
    for batch, want in zip(kept, numbers, strict=True):
        np.testing.assert_array_equal(batch.observations["obs/number"][:, 0], want)
        for number, image in zip(want, batch.observations["obs/image"], strict=True):
            np.testing.assert_array_equal(image, images[int(number)])


def test_a_scan_of_transitions_reads_each_row_once(snapshot: Snapshot) -> None:
    """To where it stays: batches are views of what was read, not copies of it."""
    sampler = StreamSampler(snapshot, memory_budget=BUDGET)
    first, second = islice(sampler.scan(8), 2)
    assert first.observations["obs"].base is second.observations["obs"].base is not None
    first.observations["obs"][...] = np.nan
    assert np.isfinite(second.observations["obs"]).all()
    for size in (1, 7, 10_000):
        batches = list(sampler.scan(size))
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert sum((starts(batch) for batch in batches), []) == transitions(LENGTHS)  # noqa: RUF017


def test_a_scan_frees_what_it_read_before_it_reads_more(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it needs memory for one piece, not for two: the consumer still has the last batch."""
    read, arrays, alive = StreamSampler.read, list["weakref.ref[np.ndarray]"](), list[int]()

    def watched(self: StreamSampler, *args: Any) -> Any:
        alive.append(sum(array() is not None for array in arrays))
        columns, *rest = read(self, *args)
        arrays.extend(map(weakref.ref, columns.values()))
        return columns, *rest

    monkeypatch.setattr(StreamSampler, "read", watched)
    for size in (16, 1000):
        assert sum(len(batch) for batch in StreamSampler(snapshot, memory_budget=BUDGET).scan(size)) == sum(LENGTHS)
        arrays.clear()
    assert len(alive) > 4
    assert set(alive) == {0}


def test_statistics_are_exact(snapshot: Snapshot) -> None:
    """CORRECTNESS 8: of the transitions of this snapshot, once each, in both tiers."""
    memory, streamed = Sampler(snapshot), StreamSampler(snapshot, memory_budget=BUDGET)
    (columns,) = memory.transitions(["obs", "action"], 10**6)
    for name, rows in columns.items():
        for found in (memory.statistics()[name], streamed.statistics()[name]):
            np.testing.assert_allclose(found.mean, rows.mean(0, dtype=np.float64), rtol=1e-12)
            np.testing.assert_allclose(found.std, rows.std(0, dtype=np.float64), rtol=1e-9)
            np.testing.assert_array_equal(found.minimum, rows.min(0))
            np.testing.assert_array_equal(found.maximum, rows.max(0))
            assert found.count == len(rows)
        blocks = [block[name] for block in streamed.transitions([name], 10**6)]
        assert len(blocks) > 1  # a budget's worth at a time
        np.testing.assert_array_equal(np.concatenate(blocks), rows)


def test_faults_reach_the_consumer(snapshot: Snapshot) -> None:
    """A shard that vanishes or shrinks ends the stream with one line that names it; threads don't stay."""
    before = threading.active_count()
    batches = StreamSampler(snapshot, memory_budget=BUDGET).batches(batch_size=50, seed=0)
    next(batches)
    for entry in snapshot.entries:
        path = Path(str(snapshot.path)) / entry.path
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"data/.*\.arrow"):
        list(islice(batches, 100))
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_budget_that_is_too_small(snapshot: Snapshot) -> None:
    with pytest.raises(InputError, match=r"memory_budget 1000: too small to shuffle .*; give it at least (\d+) bytes") as error:
        StreamSampler(snapshot, memory_budget=1000, obs_horizon=4)
    enough = int(str(error.value).split()[-2])
    assert StreamSampler(snapshot, memory_budget=enough, obs_horizon=4).num_samples == sum(LENGTHS)


_HOG = """
import resource, sys
import numpy as np
from distil.store import Store
from distil.store.stream import StreamSampler
snapshot, budget = Store.open(sys.argv[1]).snapshot(), int(sys.argv[2])
if sys.argv[3] == "weighted":
    snapshot = snapshot.weighted(np.ones(snapshot.num_episodes), 2.0)
def held():
    fields = dict(line.split(":") for line in open("/proc/self/status") if ":" in line)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
sampler = StreamSampler(snapshot, memory_budget=budget)
before, most = held(), 0
for i, batch in enumerate(sampler.batches(batch_size=256, seed=0, num_batches=sampler.num_samples // 256)):
    if i % 50 == 0:
        most = max(most, held() - before)
print(most)
"""


@pytest.mark.parametrize("weights", ["plain", "weighted"])
def test_memory_stays_within_the_budget(
    tmp_path: Path, spec: StoreSpec, make_episode: Callable[..., Episode], weights: str
) -> None:
    acted = (np.arange(500) % 2).astype(np.uint8)
    store = Store.create(tmp_path / "large", spec)
    writer = store.writer("w")
    for number in range(2000):
        writer.add(make_episode(number, 500, acted_by_expert=acted, policy_version=0))
    entry = writer.seal()
    assert entry
    store.commit([entry])
    budget = 8 << 20  # the samples take 45 MB with their index
    done = subprocess.run(
        [sys.executable, "-c", _HOG, str(store.path), str(budget), weights], capture_output=True, text=True, check=True
    )
    assert 0.4 * budget < int(done.stdout) < 1.1 * budget


def test_a_remote_store_is_streamed_through_the_local_cache(
    tmp_path: Path, spec: StoreSpec, make_episode: Callable[..., Episode], fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CORRECTNESS 10 and 11: the batches are those of a local copy; each shard is fetched once."""
    pytest.importorskip("obstore")
    monkeypatch.setenv("DISTIL_CACHE", str(tmp_path / "cache"))
    local = fill(LENGTHS, [0, 1, 0, 1, 0, 1, 0, 1]).snapshot()
    store = Store.create("memory://bucket/demos", spec)
    for half in (range(4), range(4, 8)):
        writer = store.writer("w")
        for number in half:
            writer.add(make_episode(number, LENGTHS[number]))
        entry = writer.seal()
        assert entry
        store.commit([entry])
    one, other = (
        [starts(b) for b in StreamSampler(snapshot, memory_budget=BUDGET).batches(batch_size=70, seed=1, num_batches=30)]
        for snapshot in (local, store.snapshot())
    )
    assert one == other
    assert len(list((tmp_path / "cache" / "shards").iterdir())) == 2

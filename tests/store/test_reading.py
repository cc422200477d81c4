from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from storebed import starts, transitions

from distil.config import validate
from distil.errors import InputError
from distil.spaces import action_spec, observation_spec
from distil.store import Sampler, Store, StoreSpec
from distil.store.budget import available_bytes, needed_bytes
from distil.store.reading import ReadConfig, Reader
from distil.store.stream import StreamSampler
from distil.store.windows import Layout, Windows
from distil.types import Episode

Fill = Callable[..., Store]
MakeEpisode = Callable[..., Episode]
LENGTHS = [300] * 40


@pytest.fixture
def store(fill: Fill) -> Store:
    return fill(LENGTHS, [i % 3 for i in range(40)])


def reader(tmp_path: Path, budget: int | str | None = None, share: bool = True) -> Reader:
    return Reader(ReadConfig(memory_budget=budget, share=share), shared_root=tmp_path / "shm")


@pytest.mark.parametrize("share", [True, False])
def test_what_fits_is_held_and_the_rest_streamed(store: Store, tmp_path: Path, share: bool) -> None:
    snapshot = store.snapshot()
    need = needed_bytes(snapshot, Layout(store.spec, Windows()))
    assert need == 12_000 * (13 + 24)
    whole = reader(tmp_path, need, share)
    source = whole.sampler(snapshot)
    assert (source.tier, type(source)) == (1, Sampler)
    assert whole.report is not None
    assert (whole.report.tier, whole.report.num_bytes, whole.report.shared) == (1, need, share)
    assert "in memory (0.4 MB, budget 0.4 MB" in str(whole.report)
    assert whole.report.bytes_read > 12_000 * 20
    whole.sampler(snapshot)
    assert whole.report.bytes_read == 0
    whole.close()


def test_a_snapshot_beyond_the_budget_is_streamed(fill: Fill, tmp_path: Path) -> None:
    snapshot = fill([1000] * 400, name="large").snapshot()
    budget = needed_bytes(snapshot, Layout(snapshot.spec, Windows())) - 1
    small = reader(tmp_path, budget)
    training, validation = snapshot.split(0.02, seed=0)
    sources = small.samplers([training, validation])
    assert [source.tier for source in sources] == [2, 1]
    assert small.report is not None
    assert "streamed" in str(small.report)
    assert sources[0].num_samples + sources[1].num_samples == 400_000
    batch = next(sources[0].batches(batch_size=256, seed=0))
    held_out = set(validation.episodes.seed.tolist())
    assert not held_out & {int(start) // 1000 for start in starts(batch)}
    assert not (tmp_path / "shm").exists() or list((tmp_path / "shm").iterdir()) == []
    large = small.samplers(snapshot.split(0.5, seed=0))
    assert [type(source) for source in large] == [StreamSampler, StreamSampler]


def test_stores_of_a_mixture_share_the_budget_small_ones_first(fill: Fill, tmp_path: Path) -> None:
    large, small = fill([1000] * 60, name="large").snapshot(), fill([50] * 4, name="small").snapshot()
    needs = [needed_bytes(one, Layout(one.spec, Windows())) for one in (large, small)]
    budget = needs[1] + needs[0] * 3 // 4
    mixed = reader(tmp_path, budget)
    sources = mixed.mixture([large.split(0.05, seed=0), small.split(0.25, seed=0)])
    assert [[source.tier for source in part] for part in sources] == [[2, 1], [1, 1]]
    assert [sum(source.num_samples for source in part) for part in sources] == [60_000, 200]
    assert mixed.report is not None
    assert (mixed.report.tier, mixed.report.num_bytes, mixed.report.budget_bytes) == (2, sum(needs), budget)
    whole = reader(tmp_path, sum(needs))
    halves = [large.select(range(30)), large.select(range(20, 50)), small]  # of one store, and they overlap
    held = whole.mixture([[part] for part in halves])
    assert [part[0].tier for part in held] == [1, 1, 1]
    assert len(whole._tables) == 2
    assert starts(next(iter(held[1][0].scan(1)))) == [20_000.0]
    assert starts(next(iter(held[0][0].scan(1)))) == [0.0]
    whole.sampler(small)
    assert len(whole._tables) == 1  # what isn't wanted any more goes
    mixed.close()
    whole.close()


@pytest.mark.parametrize("fractions", [(0.5,), (0.0,), (0.5, 0.5), (0.02, 0.0)])
def test_the_total_that_would_do_is_named(fill: Fill, tmp_path: Path, fractions: tuple[float, ...]) -> None:
    snapshots = [fill([1000] * 400, name=f"s{i}").snapshot() for i in range(len(fractions))]
    pairs = zip(snapshots, fractions, strict=True)
    parts = [[half for half in one.split(fraction, seed=0) if half.num_episodes] for one, fraction in pairs]
    with pytest.raises(InputError, match=r"s0: too little memory to stream the .*: set learner\.read\.memory_budget") as error:
        reader(tmp_path, (1 << 20) + 2000).mixture(parts)
    total = int(re.findall(r"at least (\d+) bytes", str(error.value))[0])
    sources = reader(tmp_path, total).mixture(parts)
    assert sum(source.num_samples for part in sources for source in part) == 400_000 * len(fractions)
    assert sources[0][0].tier == 2
    with pytest.raises(InputError, match="learner"):
        reader(tmp_path, int(total * 0.9)).mixture(parts)
    if fractions[0] == 0.5:
        assert "held-out episodes, which get an eighth" in str(error.value)


def test_weights_count_against_the_budget(fill: Fill, tmp_path: Path) -> None:
    """The budget that does without them doesn't do with them; and parts may have them or not."""
    snapshot = fill([1000] * 400, name="large").snapshot()
    layout, weighted = Layout(snapshot.spec, Windows()), snapshot.weighted(np.ones(400))
    need = needed_bytes(snapshot, layout)
    assert needed_bytes(weighted, layout) == need + 12 * 400_000
    assert [reader(tmp_path, need, share=False).sampler(one).tier for one in (snapshot, weighted)] == [1, 2]
    training, held_out = weighted.split(0.02, seed=0)
    for budget in (need, need + 12 * 400_000):
        pair = reader(tmp_path, budget, share=False).samplers([training, replace(held_out, weights=None)])
        assert [source.is_weighted for source in pair] == [True, False]
        assert [source.tier for source in pair] == [1 if budget > need else 2, 1]


def test_training_and_validation_share_one_copy(store: Store, tmp_path: Path) -> None:
    snapshot, whole = store.snapshot(), reader(tmp_path)
    training, validation = whole.samplers(snapshot.split(0.25, seed=0))
    seen = sorted([*(s for b in training.scan(999) for s in starts(b)), *(s for b in validation.scan(999) for s in starts(b))])
    assert seen == transitions(LENGTHS)
    assert training._table.columns["obs"].base is not None  # type: ignore[attr-defined]
    other = snapshot.split(0.1, seed=1)
    whole.samplers(other)
    assert whole.report is not None
    assert whole.report.bytes_read == 0
    whole.close()
    assert list((tmp_path / "shm").iterdir()) == []


def test_what_is_not_wanted_any_more_makes_room(store: Store, tmp_path: Path) -> None:
    snapshot = store.snapshot()
    halves = snapshot.select(range(20)), snapshot.select(range(20, 40))
    half = reader(tmp_path, needed_bytes(halves[0], Layout(store.spec, Windows())))
    for part, begin in zip(halves, (0, 20), strict=True):
        source = half.sampler(part)
        assert source.tier == 1
        assert next(iter(source.scan(1))).observations["obs"][0, 0, 0] == 1000.0 * begin
    assert half._tables[next(iter(half._tables))].num_bytes < 20 * 300 * 14
    half.close()


def test_without_room_in_shared_memory_the_copy_is_private(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("distil.store.cache.shutil.disk_usage", lambda path: usage(64 << 20, 0, 64 << 20))
    alone = reader(tmp_path)
    assert alone.sampler(store.snapshot()).num_samples == 12_000
    assert alone.report is not None
    assert not alone.report.shared
    assert list((tmp_path / "shm").iterdir()) == []


def test_ranks_of_one_node_get_the_same_batches(store: Store, tmp_path: Path) -> None:
    """CORRECTNESS 28 (data)."""
    snapshot, ranks = store.snapshot(), [reader(tmp_path), reader(tmp_path)]
    sources = [rank.sampler(snapshot, chunk=4) for rank in ranks]
    assert ranks[1].report is not None
    assert ranks[1].report.bytes_read == 0
    want = [starts(b) for b in Sampler(snapshot, chunk=4).batches(batch_size=8, seed=0, num_batches=9)]
    parts = [
        [starts(b) for b in source.batches(batch_size=8, seed=0, rank=rank, world_size=2, num_batches=9)]
        for rank, source in enumerate(sources)
    ]
    assert [a + b for a, b in zip(*parts, strict=True)] == want
    for rank in ranks:
        rank.close()


def test_budgets() -> None:
    assert validate(ReadConfig, {"memory_budget": "2MiB"}).budget_bytes == 2 << 20
    assert 0 < ReadConfig().budget_bytes <= available_bytes()
    with pytest.raises(InputError, match="write a number of bytes, or such as 500MB or 8GiB"):
        validate(ReadConfig, {"memory_budget": "much"})


_MIXTURE = """
import resource, sys
from distil.store import MixedSampler, ReadConfig, Reader, Store

stores = [Store.open(path).snapshot() for path in sys.argv[1:]]
reader = Reader(ReadConfig(memory_budget=1_300_000 * len(stores), share=False))
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
sources = [parts[0] for parts in reader.mixture([[store] for store in stores])]
assert [source.tier for source in sources] == [2] * len(stores)
batches = MixedSampler(sources, [1.0] * len(stores)).batches(batch_size=500, seed=0, num_batches=len(stores) * 100)
print(sum(len(batch) for batch in batches))
"""


def test_a_mixture_of_streamed_stores_keeps_few_files_open(fill: Fill) -> None:
    paths = [str(fill([1250] * 40, [*range(40)], name=name).path) for name in "abcde"]
    run = subprocess.run([sys.executable, "-c", _MIXTURE, *paths], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == (f"{5 * 50_000}\n", "")


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_shared_memory_that_runs_out_of_space_is_left(
    tmp_path: Path, make_episode: MakeEpisode, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The table grows from round to round; the run continues in private memory, and says so once."""
    image = observation_spec(spaces.Box(0, 255, (8, 8, 3), np.uint8))
    spec = StoreSpec(observation=image, action=action_spec(spaces.Box(-1, 1, (1,), np.float32)), codecs={"obs": "lz4"})
    store, snapshots = Store.create(tmp_path / "images", spec), []
    for number in range(3):
        writer = store.writer(f"w{number}")
        observations = {"obs": np.full((201, 8, 8, 3), number, np.uint8)}
        writer.add(make_episode(number, 200, observations=observations))
        entry = writer.seal()
        assert entry is not None
        snapshots.append(store.commit([entry]))
    original, root = getattr(os, call), tmp_path / "shm"

    def refuse(descriptor: int, *args: Any) -> Any:
        if full and os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(root)):
            raise OSError(errno.ENOSPC, "full")
        return original(descriptor, *args)

    full, notes = False, list[str]()
    monkeypatch.setattr(os, call, refuse)
    held = Reader(shared_root=root, note=notes.append)
    held.sampler(snapshots[0])
    assert held.report is not None
    assert (held.report.shared, notes) == (True, [])
    full = True
    for snapshot in snapshots[1:]:
        source = held.sampler(snapshot)
        assert (held.report.shared, held.report.tier) == (False, 1)
        (batch,) = source.scan(1000)
        (expected,) = Sampler(snapshot).scan(1000)
        assert np.array_equal(batch.observations["obs"], expected.observations["obs"])
    assert len(notes) == 1
    assert "no disk space left: demonstrations are kept in this process's own memory instead" in notes[0]
    held.close()
    assert not any(path.is_dir() for path in root.iterdir())

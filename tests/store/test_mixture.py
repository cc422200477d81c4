from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from storebed import starts

from distil.config import validate
from distil.errors import InputError
from distil.spaces import action_spec
from distil.store import Sampler, Store, StoreSpec
from distil.store.episodes import EpisodeSampler
from distil.store.mixture import MixedSampler, MixtureConfig, distinct, split
from distil.store.order import Cursor
from distil.store.stream import StreamSampler

Fill = Callable[..., Store]


@pytest.fixture
def mixed(fill: Fill) -> MixedSampler:
    """The first store has starts 0 to 99, the second one 0 to 9 of episode 0 and 1000 to 1299 of episode 1, streamed."""
    one, other = fill([100], name="a").snapshot(), fill([10, 300], name="b").snapshot().select([1])
    return MixedSampler([Sampler(one), StreamSampler(other, memory_budget=(1 << 20) + 40_000)], [3.0, 1.0])


def test_proportions_are_exact_in_each_cycle(mixed: MixedSampler) -> None:
    stream = [s for batch in mixed.batches(batch_size=100, seed=0, num_batches=20) for s in starts(batch)]
    for cycle in (stream[:1000], stream[1000:]):
        assert sum(start < 1000 for start in cycle) == 750
    first = [start for start in stream if start < 1000]
    assert [Counter(first[i : i + 100]).most_common(1)[0][1] for i in range(0, 1500, 100)] == [1] * 15  # epochs of the part
    second = [start for start in stream if start >= 1000]
    assert sorted(second[:300]) == [1000.0 + t for t in range(300)]
    assert stream[:1000] != sorted(stream[:1000])


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_ranks_and_resumption(mixed: MixedSampler, world_size: int) -> None:
    """CORRECTNESS 11 and 28 (data): of mixtures too."""
    whole = [starts(batch) for batch in mixed.batches(batch_size=90, seed=5, num_batches=40)]
    cursor = Cursor().advance(13 * 90, mixed.num_samples)
    ranks = [
        [
            starts(batch)
            for batch in mixed.batches(batch_size=90, seed=5, cursor=cursor, rank=rank, world_size=world_size, num_batches=27)
        ]
        for rank in range(world_size)
    ]
    assert [sum(parts, []) for parts in zip(*ranks, strict=True)] == whole[13:]  # noqa: RUF017


def test_parts_without_weights_have_ones(fill: Fill) -> None:
    """CORRECTNESS 29: in each batch, also one that the other part has nothing of; the order is that without weights."""
    one, other = fill([100], name="a").snapshot(), fill([10, 300], name="b").snapshot().select([1])
    samplers = [MixedSampler([Sampler(one), Sampler(part)], [3.0, 1.0]) for part in (other.weighted([0.5]), other)]
    assert [sampler.is_weighted for sampler in samplers] == [True, False]
    for pair in zip(*(sampler.batches(batch_size=1, seed=0, num_batches=20) for sampler in samplers), strict=True):
        assert starts(pair[0]) == starts(pair[1])
        assert pair[1].weights is None
        assert pair[0].weights.tolist() == [0.5 if starts(pair[0])[0] >= 1000 else 1.0]
        assert pair[0].weights.dtype == np.float32
    scanned = [batch.weights for batch in samplers[0].scan(64)]
    assert np.concatenate(scanned).tolist() == [1.0] * 100 + [0.5] * 300
    large = next(samplers[0].batches(batch_size=200, seed=0))
    assert large.weights.tolist() == [0.5 if start >= 1000 else 1.0 for start in starts(large)]
    whole = MixedSampler([EpisodeSampler(one), EpisodeSampler(other.weighted([0.5]))], [1.0, 1.0])
    assert [batch.weights.tolist() for batch in whole.scan(1)] == [[1.0], [0.5]]


def test_scans_and_statistics_have_all_parts(mixed: MixedSampler) -> None:
    assert mixed.num_samples == 400
    assert mixed.tier == 2
    scanned = [s for batch in mixed.scan(64) for s in starts(batch)]
    assert scanned == [*range(100), *range(1000, 1300)]
    assert mixed.statistics()["obs"].count == 400
    assert sum(len(block["action"]) for block in mixed.transitions(["action"], 64)) == 400


def test_a_mixture_from_its_configuration(fill: Fill, tmp_path: Path, spec: StoreSpec) -> None:
    one, other = fill([3, 4, 5], name="a"), fill([6], name="b")
    data = {"parts": [{"path": str(one.path), "weight": 2.0, "select": {"min_length": 4}}, {"path": str(other.path)}]}
    config = validate(MixtureConfig, data)
    assert [part.episodes.length.tolist() for part in config.resolve()] == [[4, 5], [6]]
    assert config.weights == (2.0, 1.0)
    wide = action_spec(spaces.Box(-1, 1, (2,), np.float32))
    Store.create(tmp_path / "c", StoreSpec(observation=spec.observation, action=wide))
    bad = validate(MixtureConfig, {"parts": [{"path": str(one.path)}, {"path": str(tmp_path / "c")}]})
    with pytest.raises(
        InputError, match=r"actions Box\(2\) float32, the first part Box\(1\) float32: action shape is 2 in the store, 1 in"
    ):
        bad.resolve()


def test_a_pinned_mixture_stays_as_it_was(fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever commits, whatever tag moves, and from whatever folder it is read."""
    one, other = fill([3, 4], name="a"), fill([6], name="b")
    other.tag("best")
    monkeypatch.chdir(tmp_path)
    config = validate(MixtureConfig, {"parts": [{"path": "a", "weight": 2}, {"path": "b", "version": "best"}]})
    pinned = config.pin()
    for store in (one, other):
        store.publish(store.manifest().listing((), ""))
    other.tag("best", 2, move=True)
    monkeypatch.chdir("/")
    assert [part.version for part in pinned.parts] == [1, 1]
    assert [part.episodes.length.tolist() for part in pinned.resolve()] == [[3, 4], [6]]
    assert pinned.weights == (2.0, 1.0)
    monkeypatch.chdir(tmp_path)
    assert [part.version for part in config.pin().parts] == [2, 2]
    assert config.pin([1, 2]).parts[0] == pinned.parts[0]


def test_an_episode_of_several_parts_is_held_out_of_all(fill: Fill) -> None:
    """Parts of one store that overlap, and a copy of it: none trains on what another one holds out."""
    store, copy = fill([4] * 20, name="a"), fill([4] * 20, name="copy")
    whole = store.snapshot()
    parts = [whole.select(range(10)), whole.select(range(5, 20)), copy.snapshot()]
    assert [part.num_episodes for part in distinct(parts)] == [10, 10, 0]
    halves = split(parts, 0.2, seed=0)
    training = [{*half.episodes.seed.tolist()} for half, _ in halves]
    held_out = [half.episodes.seed.tolist() for _, half in halves]
    assert held_out[:2] == [part.split(0.2, seed=0)[1].episodes.seed.tolist() for part in distinct(parts)[:2]]
    assert not held_out[2]
    flat = sum(held_out, [])  # noqa: RUF017
    assert len({*flat}) == len(flat) >= 2
    assert not set().union(*training) & {*flat}
    assert training[2] == set(range(20)) - {*flat}
    grown = [whole, *parts[1:]]  # CORRECTNESS 32
    later = split(grown, 0.2, seed=0)
    now = {seed for _, half in later for seed in half.episodes.seed.tolist()}
    assert {*flat} <= now
    assert not set().union(*training) & now
    assert split(parts[:1], 0.2, seed=0)[0][1].digest == parts[0].split(0.2, seed=0)[1].digest


def test_weights_that_are_too_far_apart(fill: Fill) -> None:
    with pytest.raises(InputError, match="the smallest is below 1/1000"):
        validate(MixtureConfig, {"parts": [{"path": "a"}, {"path": "b", "weight": 1e-9}]})
    source = Sampler(fill([3]).snapshot())
    with pytest.raises(InputError, match="the smallest is below 1/1000"):
        MixedSampler([source, source], [1.0, 1e-9])

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from storebed import starts, write

from distil.errors import InputError
from distil.store import Cursor, Sampler, SampleSource, Snapshot, StoreSpec, WeightConfig
from distil.store.cache import HeldTable
from distil.store.rows import RowReader, Runs
from distil.store.stream import StreamSampler
from distil.store.weights import Weights, join_weights
from distil.store.windows import Layout, Windows
from distil.types import Array, Batch, Episode

MakeEpisode = Callable[..., Episode]
BUDGET = (1 << 20) + 40_000
FACTOR = 4.0
WINDOWS: list[dict[str, Any]] = [
    {},
    {"obs_horizon": 2, "chunk": 3},
    {"n_step": 3, "goal": "end"},
    {"every": True},
]


def rounds(make_episode: MakeEpisode, lengths: list[int]) -> list[Episode]:
    """Episode i is of round i % 3; 0, 4, ... the expert's own, then without, wholly, and partly interventions."""
    out = []
    for number, length in enumerate(lengths):
        rng, kind = np.random.default_rng(number), number % 4
        some = np.arange(length) % 5 == 3
        acted = [np.ones(length), np.zeros(length), np.ones(length), some][kind].astype(np.uint8)
        labelled = np.ones(length, np.uint8) if number % 3 else (rng.random(length) < 0.5).astype(np.uint8)
        facts = {
            "acted_by_expert": acted,
            "labelled": labelled,
            "round": number % 3,
            "policy_version": -1 if kind == 0 else number,
        }
        out.append(make_episode(number, length, **facts))
    return out


def want(episodes: list[Episode], batch: Batch) -> list[float]:
    """The weights of a batch's windows, the slow way: 0.5 ^ (2 - round), and the factor of interventions."""
    out = []
    for start in starts(batch):
        number, step = divmod(int(start), 1000)
        episode = episodes[number]
        intervention = episode.acted_by_expert[step] and episode.policy_version >= 0
        out.append(0.5 ** (2 - episode.round) * (FACTOR if intervention else 1))
    return out


@pytest.fixture
def bed(tmp_path: Path, spec: StoreSpec, make_episode: MakeEpisode) -> tuple[Snapshot, list[Episode]]:
    episodes = rounds(make_episode, [7, 30, 5, 60, 90, 1, 40, 300, 80, 9, 50, 70])
    (weighted,) = WeightConfig(round_decay=0.5, intervention=FACTOR).apply(write(tmp_path / "rounds", spec, episodes))
    return weighted, episodes


def sources(snapshot: Snapshot, windows: dict[str, Any]) -> list[SampleSource]:
    held = HeldTable(Layout(snapshot.spec, Windows(**windows)))
    held.sampler(snapshot.select([3, 1]))  # rows in another order, and others' weights before
    streamed = StreamSampler(snapshot, memory_budget=BUDGET, **windows)
    assert len(streamed._blocks.number) > 2 * streamed._blocks.in_group
    return [Sampler(snapshot, **windows), held.sampler(snapshot), streamed]


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_every_window_has_its_weight_in_both_tiers(bed: tuple[Snapshot, list[Episode]], windows: dict[str, Any]) -> None:
    """CORRECTNESS 10 and 29: of its round, and of who acted at its first transition, however it is read."""
    snapshot, episodes = bed
    for source in sources(snapshot, windows):
        assert source.is_weighted
        num = source.num_samples
        batches = [*source.scan(64), *source.batches(batch_size=num // 3, seed=1, num_batches=7)]
        for batch in batches:
            assert batch.weights.dtype == np.float32
            assert batch.weights.tolist() == want(episodes, batch)
        assert {w for batch in batches for w in batch.weights.tolist()} == {0.25, 0.5, 1.0, 2.0, 4.0}


def test_the_order_is_that_without_weights(bed: tuple[Snapshot, list[Episode]]) -> None:
    """CORRECTNESS 11: in memory; without weights there is nothing in the batches."""
    snapshot, _ = bed
    plain = Sampler(replace(snapshot, weights=None))
    one, other = ([*source.batches(batch_size=100, seed=4, num_batches=15)] for source in (Sampler(snapshot), plain))
    assert [starts(batch) for batch in one] == [starts(batch) for batch in other]
    assert {batch.weights for batch in other} == {None}
    assert not plain.is_weighted


@pytest.mark.parametrize("tier", [0, 2])
def test_ranks_resumption_and_ownership(bed: tuple[Snapshot, list[Episode]], tier: int) -> None:
    """CORRECTNESS 11 and 28 (data): weights go with their windows, and training in place changes no later batch."""
    source = sources(bed[0], {"chunk": 2})[tier]
    whole = [batch.weights.tolist() for batch in source.batches(batch_size=30, seed=5, num_batches=60)]
    cursor = Cursor().advance(7 * 30, source.num_samples)
    halves: list[list[list[float]]] = []
    for rank in range(2):
        halves.append([])
        for batch in source.batches(batch_size=30, seed=5, cursor=cursor, rank=rank, world_size=2, num_batches=53):
            halves[-1].append(batch.weights.tolist())
            batch.weights[...] = np.nan
    assert [a + b for a, b in zip(*halves, strict=True)] == whole[7:]
    before = [batch.weights.tolist() for batch in source.scan(64)]
    for batch in source.scan(64):
        batch.weights[...] = np.nan
    assert [batch.weights.tolist() for batch in source.scan(64)] == before


@pytest.fixture
def acted_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of rows of which it was read who acted."""
    seen: list[int] = []
    copy = RowReader.copy

    def spy(self: RowReader, runs: Runs, out: dict[str, Array], *heaps: Any) -> None:
        if "acted_by_expert" in out:
            seen.append(int(runs.count.sum()))
        copy(self, runs, out, *heaps)

    monkeypatch.setattr(RowReader, "copy", spy)
    return seen


def test_who_acted_is_read_only_where_it_is_not_known(bed: tuple[Snapshot, list[Episode]], acted_rows: list[int]) -> None:
    snapshot, _ = bed
    plain = replace(snapshot, weights=None)
    for other in (plain, plain.weighted(np.arange(1, 13))):
        [*Sampler(other).scan(64), *StreamSampler(other, memory_budget=BUDGET).scan(64)]
    known = [i for i in range(12) if i % 4 != 3]
    Sampler(snapshot.select(known))
    assert acted_rows == []
    Sampler(snapshot)
    assert acted_rows == [60 + 300 + 70]


def test_equal_episodes_may_differ_in_weight(tmp_path: Path, spec: StoreSpec, make_episode: MakeEpisode) -> None:
    """A held table has their rows once: a short task is often done twice in the same way."""
    twins = [make_episode(3, 4, uid=uid, round=i) for i, uid in enumerate(("a", "b"))]
    snapshot = write(tmp_path / "twins", spec, twins)
    (weighted,) = WeightConfig(round_decay=0.5).apply(snapshot)
    (batch,) = HeldTable(Layout(spec, Windows())).sampler(weighted).scan(99)
    assert starts(batch) == [3000, 3001, 3002, 3003] * 2
    assert batch.weights.tolist() == [0.5] * 4 + [1.0] * 4


@pytest.mark.parametrize(
    ("weights", "intervention", "text"),
    [
        ([1, -1, 1], 1.0, "at least 0"),
        ([1, np.nan, 1], 1.0, "finite"),
        ([1, np.inf, 1], 1.0, "finite"),
        ([1, 1e30, 1], 10.0, "at most 1e"),
        ([0, 0, 0], 1.0, "all weights are 0"),
        ([1e-60] * 3, 1.0, "all weights are 0"),
        ([1, 1], 1.0, r"must be 3 numbers, one an episode, not \[2\]"),
        ([1, "x", 1], 1.0, "must be 3 numbers"),
        ([1, 1, 1], 0.0, "of interventions should be above 0"),
        ([1, 1, 1], np.nan, "of interventions should be above 0"),
    ],
)
def test_bad_weights(weights: list[Any], intervention: float, text: str) -> None:
    with pytest.raises(InputError, match=f"here: .*{text}"):
        Weights.checked(weights, intervention, 3, "here")


def test_nothing_left_to_learn_from(bed: tuple[Snapshot, list[Episode]]) -> None:
    """Labels in episodes that weigh nothing: a loss would be 0 / 0."""
    snapshot, _ = bed
    part = snapshot.weighted([0.0] * 11 + [1.0]).first(4)
    for make in (
        Sampler,
        lambda s: StreamSampler(s, memory_budget=BUDGET),
        lambda s: HeldTable(Layout(s.spec, Windows())).sampler(s),
    ):
        with pytest.raises(InputError, match="all episodes with labels weigh 0"):
            make(part)


def test_parts_without_weights_join_with_ones(bed: tuple[Snapshot, list[Episode]]) -> None:
    snapshot, _ = bed
    plain = replace(snapshot, weights=None)
    assert join_weights([plain, plain]) is None
    joined = join_weights([plain.first(2), snapshot.first(3)])
    assert joined is not None
    assert joined.episode.tolist() == [1, 1, 0.25, 0.5, 1]
    assert joined.intervention == FACTOR


def test_what_they_say_is_told_apart() -> None:
    one = Weights(episode=np.ones(3, np.float32))
    texts = [one.tobytes(), replace(one, intervention=2.0).tobytes(), Weights(episode=np.ones(4, np.float32)).tobytes()]
    assert all(a != b for a, b in pairwise([*texts, texts[0]]))

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distil.errors import InputError
from distil.store import Store, StoreSpec
from distil.store.episodes import EpisodeSampler
from distil.store.order import Cursor
from distil.types import Batch, Episode

LENGTHS = [3, 9, 1, 7, 5]


@pytest.fixture
def sampler(fill: Callable[..., Store]) -> EpisodeSampler:
    return EpisodeSampler(fill(LENGTHS, [0, 1, 2, 0, 1]).snapshot())


def numbers(batch: Batch) -> list[int]:
    return (batch.observations["obs"][:, 0, 0] // 1000).astype(int).tolist()  # type: ignore[no-any-return]


def test_episodes_are_padded_to_the_longest_of_the_batch(sampler: EpisodeSampler) -> None:
    """CORRECTNESS 2 and 6: the final observation is there, and pads say so."""
    first, last = sampler.scan(3)
    assert first.observations["obs"].shape == (3, 10, 2)
    assert first.actions.shape == (3, 9, 1)
    assert last.actions.shape == (2, 7, 1)
    assert first.actions.flags.c_contiguous
    for batch, chosen in ((first, [0, 1, 2]), (last, [3, 4])):
        for row, number in enumerate(chosen):
            length = LENGTHS[number]
            steps = np.minimum(np.arange(batch.actions.shape[1] + 1), length)
            assert batch.observations["obs"][row, :, 0].tolist() == [1000.0 * number + t for t in steps]
            assert batch.actions[row, :, 0].tolist() == [10.0 * number + min(t, length - 1) for t in steps[:-1]]
            assert batch.is_pad[row].tolist() == [t >= length for t in range(batch.actions.shape[1])]


def test_epochs_ranks_and_resumption(sampler: EpisodeSampler) -> None:
    """CORRECTNESS 10, 11 and 28 (data)."""
    whole = [numbers(batch) for batch in sampler.batches(batch_size=4, seed=2, num_batches=10)]
    stream = sum(whole, [])  # noqa: RUF017
    assert all(sorted(stream[i : i + 5]) == list(range(5)) for i in range(0, 40, 5))
    cursor = Cursor().advance(12, sampler.num_samples)
    ranks = [
        [numbers(b) for b in sampler.batches(batch_size=4, seed=2, cursor=cursor, rank=r, world_size=2, num_batches=7)]
        for r in range(2)
    ]
    assert [a + b for a, b in zip(*ranks, strict=True)] == whole[3:]


def test_an_episode_s_weight_is_its_sample_s(fill: Callable[..., Store]) -> None:
    """CORRECTNESS 29."""
    snapshot = fill(LENGTHS).snapshot()
    sampler = EpisodeSampler(snapshot.weighted([0, 1, 2, 3, 4], intervention=9.0))
    assert sampler.is_weighted
    for batch in (*sampler.scan(2), *sampler.batches(batch_size=4, seed=1, num_batches=3)):
        assert batch.weights.dtype == np.float32
        assert batch.weights.tolist() == numbers(batch)
    assert next(iter(EpisodeSampler(snapshot).scan(2))).weights is None
    with pytest.raises(InputError, match="all episodes with labels weigh 0"):
        EpisodeSampler(snapshot.weighted([0, 1, 0, 0, 0]).first(1))


def test_only_labels_count(tmp_path: Path, spec: StoreSpec, make_episode: Callable[..., Episode]) -> None:
    store = Store.create(tmp_path / "store", spec)
    writer = store.writer("w")
    writer.add(make_episode(0, 4, labelled=np.array([1, 0, 0, 1], np.uint8)))
    writer.add(make_episode(1, 9, labelled=np.zeros(9, np.uint8)))
    entry = writer.seal()
    assert entry
    snapshot = store.commit([entry])
    sampler = EpisodeSampler(snapshot)
    (batch,) = sampler.scan(9)
    assert batch.is_pad.tolist() == [[False, True, True, False]]
    assert next(sampler.transitions(["action"], 1))["action"][:, 0].tolist() == [0, 3]
    found = sampler.statistics()["obs"]
    assert (found.count, found.mean[0], found.maximum[0]) == (2, 1.5, 3)
    with pytest.raises(InputError, match="no labelled transition among 1 episodes"):
        EpisodeSampler(snapshot.select([1]))

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from distil.errors import InputError
from distil.store import Snapshot, Store
from distil.types import Episode

Fill = Callable[..., Store]
MakeEpisode = Callable[..., Episode]


@pytest.fixture
def snapshot(fill: Fill) -> Snapshot:
    return fill([3, 9, 4, 7, 5, 2], [0, 1, 0, 1, 2, 0]).snapshot()


def test_the_index(snapshot: Snapshot) -> None:
    episodes = snapshot.episodes
    assert episodes.length.tolist() == [3, 9, 4, 7, 5, 2]
    assert episodes.total_reward.tolist() == [0, 9, 8, 21, 20, 10]
    assert episodes.terminated.tolist() == [1, 0, 1, 0, 1, 0]
    assert episodes.truncated.tolist() == [0, 1, 0, 1, 0, 1]
    assert episodes.num_labelled.tolist() == episodes.num_acted_by_expert.tolist() == [3, 9, 4, 7, 5, 2]
    assert episodes.seed.tolist() == [0, 1, 2, 3, 4, 5]
    assert (snapshot.num_episodes, snapshot.num_transitions) == (6, 30)


def test_columns_are_contiguous_in_order_and_cast(snapshot: Snapshot) -> None:
    columns = snapshot.columns(["obs", "step"], {"obs": "float32"})
    assert columns["obs"].dtype == np.float32
    assert columns["obs"].flags.c_contiguous
    want = [1000.0 * i + t for i, length in enumerate([3, 9, 4, 7, 5, 2]) for t in range(length + 1)]
    assert columns["obs"][:, 0].tolist() == want
    assert columns["step"].dtype == np.int32
    with pytest.raises(InputError, match="no column 'rewards'; there are obs, action"):
        snapshot.columns(["rewards"])


def test_views(snapshot: Snapshot) -> None:
    first = snapshot.first(2)
    assert first.episodes.uid.tolist() == ["test-0000", "test-0001"]
    assert first.num_transitions == 12
    chosen = snapshot.select([4, 1]).select([1])
    assert chosen.selection.tolist() == [1]
    assert chosen.episode(0).uid == "test-0001"
    assert snapshot.select(chosen.selection).digest == chosen.digest != snapshot.digest
    assert chosen.columns(["obs"])["obs"][:, 0].tolist() == [1000.0 + t for t in range(10)]
    assert snapshot.first(0).columns(["obs"])["obs"].shape == (0, 2)


def test_what_is_not_there_is_an_error(snapshot: Snapshot) -> None:
    for bad in (lambda: snapshot.select([6]), lambda: snapshot.select([-1]), lambda: snapshot.select([1, 1])):
        with pytest.raises(InputError, match=r"selection|twice"):
            bad()
    with pytest.raises(InputError, match="7 episodes requested, 6 available; collect more"):
        snapshot.first(7)
    for index in (-1, 6):
        with pytest.raises(InputError, match="numbered 0 to 5"):
            snapshot.episode(index)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.99])
def test_the_split_is_by_episode_and_exhaustive(snapshot: Snapshot, fraction: float) -> None:
    for seed in range(20):
        training, validation = snapshot.split(fraction, seed=seed)
        assert sorted([*training.selection, *validation.selection]) == list(range(6))
        assert snapshot.split(fraction, seed=seed)[0].digest == training.digest
        assert training.selection.tolist() == sorted(training.selection)
        assert validation.selection.tolist() == sorted(validation.selection)
        assert training.num_episodes > 0
        assert (validation.num_episodes > 0) == (fraction > 0)
    assert len({tuple(snapshot.split(0.3, seed=seed)[1].selection.tolist()) for seed in range(20)}) > 5


def test_held_out_episodes_stay_held_out_while_the_data_grow(fill: Fill) -> None:
    """CORRECTNESS 32: and what was trained on is never held out later."""
    whole = fill([2] * 300).snapshot()
    order = np.random.default_rng(0).permutation(300)  # in which they come: a uid says nothing about that
    for seed in range(10):
        trained, held_out = set[int](), set[int]()
        for num in (5, 8, 20, 50, 100, 300):
            view = whole.select(np.sort(order[:num]))
            training, validation = ({*half.episodes.seed.tolist()} for half in view.split(0.1, seed=seed))
            assert not trained & validation
            if num > 50:
                assert held_out <= validation
            trained, held_out = trained | training, validation
        assert 15 <= len(held_out) <= 45  # of 300; binomial


def test_rounds_after_a_single_demonstration_leave_it_in_training(fill: Fill, make_episode: MakeEpisode) -> None:
    """CORRECTNESS 32: the first round has nothing but it."""
    store = fill([3])
    writer = store.writer("more")
    for number in range(1, 40):
        writer.add(make_episode(number, 3, round=number))
    entry = writer.seal()
    assert entry is not None
    whole = store.commit([entry])
    for seed in range(50):
        trained = set[int]()
        for num in (1, 2, 3, 5, 10, 40):
            training, validation = ({*half.episodes.seed.tolist()} for half in whole.first(num).split(0.3, seed=seed))
            assert not trained & validation
            assert bool(validation) == (num > 1)
            assert 0 in training
            trained |= training


def test_the_split_keeps_labels_on_both_sides(fill: Fill, make_episode: MakeEpisode) -> None:
    store = fill([3] * 6)
    writer = store.writer("more")
    for number in range(6, 40):
        writer.add(make_episode(number, 3, labelled=np.zeros(3, np.uint8)))
    entry = writer.seal()
    assert entry is not None
    snapshot = store.commit([entry])
    for fraction in (0.01, 0.99):
        for seed in range(20):
            assert all(half.episodes.num_labelled.any() for half in snapshot.split(fraction, seed=seed))
    training, validation = snapshot.select([0, 10, 11]).split(0.99, seed=0)
    assert training.episodes.num_labelled.any()
    assert not validation.episodes.num_labelled.any()


def test_the_split_of_few_episodes(fill: Fill) -> None:
    training, validation = fill([3, 3]).snapshot().split(0.01, seed=0)
    assert (training.num_episodes, validation.num_episodes) == (1, 1)
    training, validation = fill([3], name="single").snapshot().split(0.5, seed=0)
    assert (training.num_episodes, validation.num_episodes) == (1, 0)
    with pytest.raises(InputError, match="less than 1"):
        training.split(1.0, seed=0)


def test_views_carry_weights(snapshot: Snapshot) -> None:
    weighted = snapshot.weighted([0, 1, 2, 3, 4, 5], intervention=2.0)

    def facts(view: Snapshot) -> tuple[list[float], float]:
        assert view.weights is not None
        return view.weights.episode.tolist(), view.weights.intervention

    assert snapshot.weights is snapshot.first(2).weights is None
    assert facts(weighted.select([4, 1]).select([1])) == ([1.0], 2.0)
    assert facts(weighted.first(3)) == ([0.0, 1.0, 2.0], 2.0)
    for half in weighted.split(0.5, seed=3):
        assert facts(half) == (half.selection.tolist(), 2.0)
    assert facts(weighted.weighted(np.ones(6))) == ([1.0] * 6, 1.0)  # in place of the others
    with pytest.raises(InputError, match="store: weights must be 6 numbers"):
        snapshot.weighted([1.0])


def test_weights_are_part_of_the_identity(snapshot: Snapshot) -> None:
    views = [snapshot, snapshot.weighted(np.ones(6)), snapshot.weighted(np.ones(6), 2.0), snapshot.weighted(np.arange(6))]
    assert len({view.digest for view in views}) == 4
    assert views[3].digest == snapshot.weighted(np.arange(6.0)).digest


def test_batches_are_those_of_a_sampler(snapshot: Snapshot) -> None:
    batches = list(snapshot.batches(batch_size=6, seed=0, obs_horizon=2, chunk=3, num_batches=5))
    assert [batch.actions.shape for batch in batches] == [(6, 3, 1)] * 5
    assert batches[0].observations["obs"].shape == (6, 2, 2)

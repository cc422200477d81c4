from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from distil.errors import InputError
from distil.spaces import action_spec, observation_spec
from distil.store import Cursor, Sampler, Snapshot, Store, StoreSpec
from distil.types import Batch, Episode

Fill = Callable[..., Store]
LENGTHS = [3, 9, 1, 7, 5]


def starts(batch: Batch) -> list[float]:
    """Return which transition each window starts at: the current observation's number."""
    return np.asarray(batch.observations["obs"])[:, -1, 0].tolist()  # type: ignore[no-any-return]


def transitions(lengths: list[int]) -> list[float]:
    return [1000.0 * i + t for i, length in enumerate(lengths) for t in range(length)]


@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (1, 4), (3, 1), (2, 4), (4, 2), (12, 12)])
def test_windows_stay_inside_an_episode(fill: Fill, horizon: int, chunk: int) -> None:
    """CORRECTNESS 6: observations clamp at the first row, actions at the last one, and pads say so."""
    snapshot = fill(LENGTHS, [0, 1, 2, 0, 1]).snapshot()
    sampler = Sampler(snapshot, obs_horizon=horizon, chunk=chunk)
    batches = list(sampler.scan(4))
    assert [start for batch in batches for start in starts(batch)] == transitions(LENGTHS)
    assert [len(batch) for batch in batches] == [4] * 6 + [1]
    for batch in batches:
        assert batch.observations["obs"].shape == (len(batch), horizon, 2)
        assert batch.actions.shape == (len(batch), chunk, 1)
        assert batch.is_pad.shape == (len(batch), chunk)
        for row, start in enumerate(starts(batch)):
            number, step = divmod(int(start), 1000)
            seen = [max(step - back, 0) for back in reversed(range(horizon))]
            done = [min(step + ahead, LENGTHS[number] - 1) for ahead in range(chunk)]
            assert batch.observations["obs"][row].tolist() == [[1000.0 * number + t, -t] for t in seen]
            assert batch.actions[row, :, 0].tolist() == [10.0 * number + t for t in done]
            assert batch.is_pad[row].tolist() == [step + ahead >= LENGTHS[number] for ahead in range(chunk)]


@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (2, 3)])
def test_an_epoch_has_every_sample_once(fill: Fill, horizon: int, chunk: int) -> None:
    """CORRECTNESS 10: shuffled epochs and a scan are the same multiset, also where batches cross epochs."""
    sampler = Sampler(fill(LENGTHS).snapshot(), obs_horizon=horizon, chunk=chunk)
    assert sampler.num_samples == 25
    stream = [start for batch in sampler.batches(batch_size=10, seed=1, num_batches=10) for start in starts(batch)]
    epochs = [stream[25 * epoch : 25 * epoch + 25] for epoch in range(4)]
    assert all(sorted(epoch) == transitions(LENGTHS) for epoch in epochs)
    assert all(one != other for one, other in pairwise([transitions(LENGTHS), *epochs]))


def test_batches_larger_than_the_data_are_full(fill: Fill) -> None:
    """CORRECTNESS 10."""
    sampler = Sampler(fill([3, 2]).snapshot())
    batches = list(sampler.batches(batch_size=12, seed=0, num_batches=5))
    assert [len(batch) for batch in batches] == [12] * 5
    assert set(Counter(start for batch in batches for start in starts(batch)).values()) == {12}


@given(batch_size=st.integers(1, 13), before=st.integers(0, 9), seed=st.integers(0, 3))
def test_resuming_gives_the_same_batches(resumable: Sampler, batch_size: int, before: int, seed: int) -> None:
    """CORRECTNESS 11: a cursor continues the stream exactly."""
    whole = [starts(batch) for batch in resumable.batches(batch_size=batch_size, seed=seed, num_batches=before + 3)]
    cursor = Cursor().advance(before * batch_size, resumable.num_samples)
    rest = resumable.batches(batch_size=batch_size, seed=seed, cursor=cursor, num_batches=3)
    assert [starts(batch) for batch in rest] == whole[before:]


@pytest.fixture(scope="module")
def resumable(tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    spec = StoreSpec(observation=observation_spec(spaces.Box(-9e9, 9e9, (1,))), action=action_spec(spaces.Discrete(2)))
    store = Store.create(tmp_path_factory.mktemp("resumable") / "store", spec)
    writer = store.writer("w")
    for number, length in enumerate([4, 3]):
        writer.add(discrete_episode(number, length))
    entry = writer.seal()
    assert entry
    return Sampler(store.commit([entry]))


def discrete_episode(number: int, length: int, **changes: Any) -> Episode:
    facts: dict[str, Any] = {
        "observations": {"obs": (1000 * number + np.arange(length + 1, dtype=np.float32))[:, None]},
        "actions": np.zeros(length, np.int64),
        "rewards": np.zeros(length),
        "terminated": True,
        "truncated": False,
        "expert_actions": np.ones(length, np.int64),
        "labelled": np.ones(length, np.uint8),
        "acted_by_expert": np.zeros(length, np.uint8),
        "uid": f"e{number}",
    }
    return Episode(**(facts | changes))


@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_ranks_share_the_same_global_batches(fill: Fill, world_size: int, horizon: int, chunk: int) -> None:
    """CORRECTNESS 28 (data): the global batch is the same at any world size."""
    sampler = Sampler(fill(LENGTHS).snapshot(), obs_horizon=horizon, chunk=chunk)
    whole = [starts(batch) for batch in sampler.batches(batch_size=6, seed=5, num_batches=12)]
    ranks = [
        [starts(batch) for batch in sampler.batches(batch_size=6, seed=5, rank=rank, world_size=world_size, num_batches=12)]
        for rank in range(world_size)
    ]
    assert [sum(parts, []) for parts in zip(*ranks, strict=True)] == whole  # noqa: RUF017


def test_the_order_depends_on_the_content_and_the_seed_only(fill: Fill) -> None:
    """CORRECTNESS 5 and 11: not on shards, not on the window's size."""

    def order(snapshot: Snapshot, seed: int, **sizes: int) -> list[list[float]]:
        return [starts(batch) for batch in Sampler(snapshot, **sizes).batches(batch_size=5, seed=seed, num_batches=9)]

    one, other = fill(LENGTHS, name="a").snapshot(), fill(LENGTHS, [2, 0, 1, 0, 2], name="b").snapshot()
    assert order(one, 0) == order(other, 0) == order(one, 0, obs_horizon=3, chunk=2)
    assert order(one, 0) != order(one, 1)


def test_only_labels_are_sampled_and_gaps_are_pads(tmp_path: Path) -> None:
    """CORRECTNESS 6 and 12: the label is the expert's action; what has none starts no window and counts as pad."""
    spec = StoreSpec(observation=observation_spec(spaces.Box(-9e9, 9e9, (1,))), action=action_spec(spaces.Discrete(9)))
    store = Store.create(tmp_path / "store", spec)
    writer = store.writer("w")
    labels = {"expert_actions": np.array([1, 0, 3, 0]), "labelled": np.array([1, 0, 1, 0], np.uint8), "actions": np.full(4, 7)}
    writer.add(discrete_episode(0, 4, **labels))
    writer.add(discrete_episode(1, 2, labelled=np.zeros(2, np.uint8)))
    writer.add(discrete_episode(2, 1, expert_actions=np.array([8])))
    entry = writer.seal()
    assert entry
    snapshot = store.commit([entry])
    sampler = Sampler(snapshot, chunk=3)
    (batch,) = sampler.scan(10)
    assert starts(batch) == [0, 2, 2000]
    assert batch.is_pad.tolist() == [[False, True, False], [False, True, True], [False, True, True]]
    assert batch.actions.dtype == np.int64
    assert batch.actions.shape == (3, 3)
    assert batch.actions[~batch.is_pad].tolist() == [1, 3, 3, 8]
    for columns in (next(source.transitions(["action", "obs"], 10)) for source in (sampler, Sampler(snapshot))):
        assert columns["action"].tolist() == [1, 3, 8]
        assert columns["obs"][:, 0].tolist() == [0, 2, 2000]
    with pytest.raises(InputError, match="no labelled transition among 1 episodes; collect demonstrations"):
        Sampler(snapshot.select([1]))


def test_transitions_are_the_training_rows(fill: Fill) -> None:
    """CORRECTNESS 8: statistics see the transitions of this snapshot's episodes, once each."""
    training = fill(LENGTHS).snapshot().select([1, 3])
    want = [1000.0 + t for t in range(9)] + [3000.0 + t for t in range(7)]
    for sizes in ({}, {"obs_horizon": 3, "chunk": 5}):
        blocks = list(Sampler(training, **sizes).transitions(["obs", "action"], 10))
        assert [len(block["obs"]) for block in blocks] == [10, 6]
        assert [value for block in blocks for value in block["obs"][:, 0]] == want
        assert all(block["obs"].flags.c_contiguous for block in blocks)
        assert [block["action"].shape for block in blocks] == [(10, 1), (6, 1)]


def test_statistics_take_the_memory_of_a_block(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distil.store.moments._BLOCK_ROWS", 1000)
    sampler = Sampler(fill([1000] * 50).snapshot())
    tracemalloc.start()
    try:
        sampler.statistics()
        assert tracemalloc.get_traced_memory()[1] < 150_000  # of 600,000 bytes of observations and labels
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sizes", [{}, {"obs_horizon": 2, "chunk": 2}])
def test_nested_observations_of_every_type_become_tensors(tmp_path: Path, sizes: dict[str, int]) -> None:
    space = spaces.Dict(
        image=spaces.Box(0, 255, (5, 3, 3), np.uint8),
        pose=spaces.Box(-1, 1, (3, 3), np.float64),
        parts=spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(5), spaces.Box(-1, 1, (), np.float32))),
    )
    space.seed(0)
    spec = StoreSpec(observation=observation_spec(space), action=action_spec(spaces.MultiDiscrete([2, 3])))
    store = Store.create(tmp_path / "store", spec)
    samples = [spec.observation.flatten(space.sample()) for _ in range(5)]
    observations = {leaf: np.stack([sample[leaf] for sample in samples]) for leaf in samples[0]}
    writer = store.writer("w")
    labels = np.arange(8).reshape(4, 2)
    writer.add(discrete_episode(0, 4, observations=observations, actions=labels, expert_actions=labels))
    entry = writer.seal()
    assert entry
    (batch,) = Sampler(store.commit([entry]), **sizes).scan(4)
    for leaf, values in observations.items():
        tensor = torch.from_numpy(batch.observations[leaf])
        kept = np.float32 if values.dtype.kind == "f" else values.dtype
        np.testing.assert_array_equal(tensor[:, -1].numpy(), values[:4].astype(kept))
        assert batch.observations[leaf].dtype == kept
    assert torch.from_numpy(batch.actions)[:, 0].tolist() == labels.tolist()
    assert not torch.from_numpy(batch.is_pad)[:, 0].any()


def test_batches_own_their_memory(fill: Fill) -> None:
    """Training in place on a batch must not change the data."""
    sampler = Sampler(fill(LENGTHS).snapshot())
    for batch in islice(sampler.batches(batch_size=25, seed=0), 3):
        batch.observations["obs"][...] = np.nan
        batch.actions[...] = np.nan
        batch.is_pad[...] = True
    (batch,) = sampler.scan(25)
    assert starts(batch) == transitions(LENGTHS)
    assert not batch.is_pad.any()


@pytest.mark.parametrize("sizes", [{"obs_horizon": 0}, {"chunk": 0}])
def test_windows_of_nothing(fill: Fill, sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="should be at least 1"):
        Sampler(fill([3]).snapshot(), **sizes)

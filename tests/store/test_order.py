from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from storebed import starts

from distil.errors import InputError
from distil.store import Cursor, Sampler, Store, TransitionBatch
from distil.store.order import parts
from distil.types import Batch


def test_cursors_add_up() -> None:
    """CORRECTNESS 11."""
    assert Cursor().advance(7, 25) == Cursor(epoch=0, offset=7)
    assert Cursor(epoch=2, offset=20).advance(30, 25) == Cursor(epoch=4, offset=0)
    assert Cursor().advance(10, 25).advance(40, 25) == Cursor().advance(50, 25)


@pytest.mark.parametrize(("batch_size", "world_size"), [(0, 1), (10, 3)])
def test_batches_that_ranks_cannot_share(fill: Callable[..., Store], batch_size: int, world_size: int) -> None:
    with pytest.raises(InputError, match="should be a multiple of the number of learners"):
        Sampler(fill([3]).snapshot()).batches(batch_size=batch_size, seed=0, world_size=world_size)


def test_several_batches_are_converted_at_once(fill: Callable[..., Store]) -> None:
    sampler, sizes = Sampler(fill([30, 50]).snapshot(), chunk=3), list[int]()

    def convert(batch: Batch) -> Batch:
        sizes.append(len(batch))
        return replace(batch, actions=torch.from_numpy(batch.actions))

    want = list(sampler.batches(batch_size=8, seed=0, num_batches=40))
    found = list(sampler.batches(batch_size=8, seed=0, num_batches=40, convert=convert))
    assert sizes == [8, 8 * 32, 8 * 7]
    for one, other in zip(want, found, strict=True):
        assert torch.equal(torch.from_numpy(one.actions), other.actions)
        assert starts(one) == starts(other)
    ranks = sampler.batches(batch_size=8, seed=0, rank=1, world_size=2, num_batches=40, convert=convert)
    assert [starts(batch) for batch in ranks] == [starts(batch)[4:] for batch in want]


def test_a_stream_goes_back_too(fill: Callable[..., Store]) -> None:
    stream = Sampler(fill([3, 4]).snapshot()).stream(0)
    first = starts(stream.take(2, 9))
    assert starts(stream.take(40, 3)) != first
    assert starts(stream.take(2, 9)) == first
    stream.close()


def test_statistics_of_large_offsets(fill: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 8: parts are combined without cancellation."""
    monkeypatch.setattr("distil.store.moments._BLOCK_ROWS", 7)
    sampler = Sampler(fill([50] * 30).snapshot(), float_dtype="float64")
    found, (rows,) = sampler.statistics()["obs"], [block["obs"] for block in sampler.transitions(["obs"], 10**6)]
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.std, rows.std(0), rtol=1e-12)


def test_parts_are_views_of_any_kind_of_batch() -> None:
    rows = np.arange(10.0)
    names = ("executed", "rewards", "num_steps", "terminated", "truncated", "is_pad", "actions")
    columns = dict.fromkeys(names, rows)
    batch = TransitionBatch(
        **columns, observations={"a": rows, "b": rows[:, None]}, next_observations={"a": rows}, weights=None
    )
    found = list(parts(batch, 4))
    assert [len(part) for part in found] == [4, 4, 2]
    for part, begin in zip(found, (0, 4, 8), strict=True):
        want = rows[begin : begin + 4]
        assert type(part) is TransitionBatch
        assert part.weights is None
        for values in (*(getattr(part, name) for name in columns), part.observations["a"], part.next_observations["a"]):
            np.testing.assert_array_equal(values, want)
            assert np.shares_memory(values, rows)
        np.testing.assert_array_equal(part.observations["b"], want[:, None])
    assert [len(part) for part in parts(batch, 10)] == [10]
    assert [part.weights.tolist() for part in parts(replace(batch, weights=rows), 5)] == [rows[:5].tolist(), rows[5:].tolist()]

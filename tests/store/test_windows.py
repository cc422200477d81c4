from __future__ import annotations

import numpy as np
import pytest

from distil.errors import InputError
from distil.store import StoreSpec
from distil.store.windows import Layout, Pieces, Windows, place


def pieces(length: list[int], begin: list[int], end: list[int]) -> Pieces:
    zeros = np.zeros(len(length), np.int64)
    values = [np.array(v, np.int64) for v in (length, begin, end)]
    return Pieces(shard=zeros, row=zeros, length=values[0], begin=values[1], end=values[2], full=zeros == 0)


def test_pieces_lie_with_gaps_between() -> None:
    places = place(pieces([5, 5], [0, 2], [5, 4]), Windows(obs_horizon=3, chunk=4))
    assert places.first.tolist() == [3, 11]
    assert (places.after.tolist(), places.extra.tolist(), places.end) == ([0, 0], [0, 0], 16)
    more = place(pieces([2], [0], [2]), Windows(obs_horizon=3, chunk=4), start=13)
    assert (more.first.tolist(), more.end) == ([16], 21)


def test_what_is_ahead_is_stored_behind() -> None:
    parts = pieces([9, 9], [0, 3], [9, 5])
    assert place(parts, Windows(n_step=3)).after.tolist() == [1, 3]
    assert place(parts, Windows(goal=2)).after.tolist() == [1, 2]
    end = place(parts, Windows(goal="end"))
    assert (end.after.tolist(), end.extra.tolist()) == ([1, 0], [0, 1])


@pytest.mark.parametrize("sizes", [{"obs_horizon": 0}, {"chunk": 0}, {"n_step": 0}, {"goal": -1}])
def test_windows_of_nothing(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="should be at least 1"):
        Windows(**sizes)  # type: ignore[arg-type]


def test_layouts(spec: StoreSpec) -> None:
    packed = Layout(spec, Windows())
    assert packed.is_packed
    assert packed.row_bytes == 2 * 4 + 4 + 1
    assert Layout(spec, Windows(float_dtype="float64")).row_bytes == 2 * 8 + 8 + 1
    apart = Layout(spec, Windows(n_step=2, goal="end"))
    assert not apart.is_packed
    assert list(apart.fields) == [
        "obs",
        "action",
        "expert_action",
        "reward",
        "terminated",
        "truncated",
        "is_pad",
        "next",
        "goal",
    ]
    assert apart.row_bytes == 8 + 4 + 4 + 4 + 1 + 1 + 1 + 4 + 4


def test_rewards_are_read_only_if_wanted(spec: StoreSpec) -> None:
    """CORRECTNESS 20: the column isn't even in memory."""
    without = Layout(spec, Windows(n_step=1, rewards=False))
    assert set(Layout(spec, Windows(n_step=1)).fields) - set(without.fields) == {"reward"}
    assert not Layout(spec, Windows(rewards=True)).fields.keys() & {"reward", "truncated"}  # without `n_step`

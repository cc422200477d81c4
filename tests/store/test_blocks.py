from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from distil.store import Store, Windows
from distil.store.blocks import BudgetError, cut_blocks, pieces_of
from distil.store.sampler import whole_episodes
from distil.store.windows import Layout

Fill = Callable[..., Store]
LENGTHS = [5, 1, 9, 3]


def test_pieces_are_the_parts_of_episodes_in_blocks(fill: Fill) -> None:
    """Blocks of 4: transitions 0-3, 4-7, 8-11, 12-15, 16-17 of the episodes 0-4, 5, 6-14, 15-17."""
    snapshot = fill(LENGTHS).snapshot()
    episodes = whole_episodes(snapshot, Windows())
    pieces, owner, episode = pieces_of(np.arange(5), 4, episodes, np.cumsum(LENGTHS))
    assert owner.tolist() == [0, 1, 1, 1, 2, 3, 3, 4]
    assert episode.tolist() == [0, 0, 1, 2, 2, 2, 3, 3]
    assert list(zip(pieces.begin.tolist(), pieces.end.tolist(), strict=True)) == [
        *[(0, 4), (4, 5), (0, 1), (0, 2), (2, 6), (6, 9), (0, 1), (1, 3)]
    ]
    assert pieces.length.tolist() == [5, 5, 1, 9, 9, 9, 3, 3]


def test_groups_fit_the_budget_and_hold_every_transition(fill: Fill) -> None:
    snapshot = fill([700, 300, 1000]).snapshot()
    layout = Layout(snapshot.spec, Windows(obs_horizon=3))
    small, large = (cut_blocks(snapshot, layout, (1 << 20) + extra) for extra in (30_000, 120_000))
    assert small.in_group < large.in_group
    assert small.samples.sum() == large.samples.sum() == 2000
    pieces, episode = small.pieces(np.arange(len(small)))
    assert np.bincount(episode, weights=pieces.num).tolist() == [700, 300, 1000]
    assert small.most_rows[small.in_group - 1] * layout.row_bytes * 2 < 30_000
    with pytest.raises(BudgetError) as caught:
        cut_blocks(snapshot, layout, 1000)
    assert cut_blocks(snapshot, layout, caught.value.needed_bytes).in_group >= 2

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from storebed import check, starts, transitions

from distil.store import Sampler, Store
from distil.store.rows import RowReader
from distil.store.sampler import whole_episodes
from distil.store.table import Table
from distil.store.windows import Layout, Windows, place

LENGTHS = [3, 9, 1, 7, 5]


@pytest.mark.parametrize("goal", [None, 1, 4, "end"])
@pytest.mark.parametrize("n_step", [None, 1, 3, 20])
@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (2, 4)])
def test_returns_and_goals(
    fill: Callable[..., Store], horizon: int, chunk: int, n_step: int | None, goal: int | str | None
) -> None:
    """CORRECTNESS 1, 2 and 21: the final observation is kept, and truncation isn't termination."""
    snapshot = fill(LENGTHS, [0, 1, 2, 0, 1]).snapshot()
    windows = {"obs_horizon": horizon, "chunk": chunk, "n_step": n_step, "goal": goal}
    (batch,) = Sampler(snapshot, **windows).scan(99)
    assert starts(batch) == transitions(LENGTHS)
    check(batch, dict(enumerate(map(snapshot.episode, range(5)))), Windows(**windows))  # type: ignore[arg-type]


def test_rewards_that_are_not_wanted_are_not_read(fill: Callable[..., Store]) -> None:
    """CORRECTNESS 20: all else is as with them."""
    snapshot = fill(LENGTHS, [0, 1, 2, 0, 1]).snapshot()
    (with_them,), (without,) = (Sampler(snapshot, n_step=1, every=True, rewards=flag).scan(99) for flag in (True, False))
    check(without, dict(enumerate(map(snapshot.episode, range(5)))), Windows(n_step=1, rewards=False))
    assert without.rewards is None
    for name in ("executed", "terminated", "truncated", "num_steps"):
        assert np.array_equal(getattr(with_them, name), getattr(without, name))


@pytest.mark.parametrize("sizes", [{}, {"obs_horizon": 3, "chunk": 2, "n_step": 4, "goal": "end"}])
def test_a_table_grows_piece_by_piece(fill: Callable[..., Store], sizes: dict[str, int]) -> None:
    """Rows that were added later read the same, and the first ones are left as they are."""
    snapshot = fill(LENGTHS).snapshot()
    layout, reader = Layout(snapshot.spec, Windows(**sizes)), RowReader(snapshot.path, snapshot.entries, snapshot.spec)  # type: ignore[arg-type]
    episodes = whole_episodes(snapshot, layout.windows)
    table, end, first = Table.allocate(layout, 200), 0, []
    for part in ([3, 1], [0], [4, 2]):
        pieces = episodes.take(np.array(part))
        places = place(pieces, layout.windows, max(0, end - layout.windows.gap))
        table.fill(reader, pieces, places, end)
        end = places.end
        first += places.first.tolist()
    order = np.argsort([3, 1, 0, 4, 2])
    sampler = Sampler.over(table, np.array(first)[order], episodes)
    (batch,) = sampler.scan(99)
    assert starts(batch) == transitions(LENGTHS)
    check(batch, dict(enumerate(map(snapshot.episode, range(5)))), layout.windows)

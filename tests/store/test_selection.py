from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.store import Snapshot, Store, StoreSpec
from distil.store.selection import SelectionConfig
from distil.types import Episode


@pytest.fixture
def snapshot(tmp_path: Path, spec: StoreSpec, make_episode: Callable[..., Episode]) -> Snapshot:
    """Twelve episodes: length number + 1, reward number a step, so the return is number * (number + 1)."""
    store = Store.create(tmp_path / "store", spec)
    writer = store.writer("w")
    for number in range(12):
        facts = {
            "round": number // 4,
            "policy_version": number % 4 - 1,
            "source": ("expert:scripted", "expert:sb3", "policy")[number % 3],
            "success": (None, True, False)[number % 3],
        }
        writer.add(make_episode(number, number + 1, **facts))
    entry = writer.seal()
    assert entry
    return store.commit([entry])


@pytest.mark.parametrize(
    ("config", "want"),
    [
        ({}, list(range(12))),
        ({"sources": ["expert:*"]}, [0, 1, 3, 4, 6, 7, 9, 10]),
        ({"sources": ["policy", "expert:sb3"]}, [1, 2, 4, 5, 7, 8, 10, 11]),
        ({"min_round": 1, "max_round": 1}, [4, 5, 6, 7]),
        ({"min_return": 12.0, "max_return": 42.0}, [3, 4, 5, 6]),
        ({"min_length": 10}, [9, 10, 11]),
        ({"max_length": 2}, [0, 1]),
        ({"max_policy_version": -1}, [0, 4, 8]),
        ({"min_policy_version": 1, "max_policy_version": 1}, [2, 6, 10]),
        ({"seeds": [3, 7, 99]}, [3, 7]),
        ({"success": True}, [1, 4, 7, 10]),
        ({"success": False, "min_round": 2}, [8, 11]),
        ({"top_percent": 25.0}, [9, 10, 11]),
        ({"top_percent": 0.1}, [11]),
        ({"top_percent": 50.0, "max_round": 0}, [2, 3]),
    ],
)
def test_filters(snapshot: Snapshot, config: dict[str, Any], want: list[int]) -> None:
    chosen = validate(SelectionConfig, config).resolve(snapshot)
    assert chosen.selection.tolist() == want
    assert chosen.episodes.seed.tolist() == want


def test_no_step_is_read(snapshot: Snapshot) -> None:
    for entry in snapshot.entries:
        (Path(str(snapshot.path)) / entry.path).unlink()
    config = SelectionConfig(success=True, top_percent=50.0, episodes=1)
    assert config.resolve(snapshot).num_episodes == 1


def test_a_draw_depends_on_its_seed_only(snapshot: Snapshot) -> None:
    def draw(seed: int, num: int = 4) -> list[int]:
        return SelectionConfig(episodes=num, seed=seed, max_round=1).resolve(snapshot).selection.tolist()  # type: ignore[no-any-return]

    assert draw(0) == draw(0) == sorted(draw(0))
    assert len({tuple(draw(seed)) for seed in range(5)}) > 1
    assert set(draw(3, 2)) <= set(draw(3, 5))  # draws nest
    assert np.max(draw(1)) < 8


def test_what_cannot_be_chosen_is_an_error(snapshot: Snapshot) -> None:
    with pytest.raises(InputError, match=r"none of its 12 episodes fits \(min_return=1000.0\); widen it"):
        SelectionConfig(min_return=1000.0).resolve(snapshot)
    with pytest.raises(InputError, match=r"5 episodes requested, 4 fit \(success=True, episodes=5\); collect more"):
        SelectionConfig(success=True, episodes=5).resolve(snapshot)
    with pytest.raises(InputError, match="min_length 9 is above max_length 2: swap them"):
        validate(SelectionConfig, {"min_length": 9, "max_length": 2})
    with pytest.raises(InputError, match="top_percent"):
        validate(SelectionConfig, {"top_percent": 0.0})


def test_everything_is_the_snapshot_itself(snapshot: Snapshot) -> None:
    assert SelectionConfig().resolve(snapshot) is snapshot
    assert SelectionConfig(seed=4).is_everything
    assert not SelectionConfig(top_percent=99.0).is_everything

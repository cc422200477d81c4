"""Reference samples, computed slowly, to compare batches with; the observations of `conftest` encode their origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distil.store import Snapshot, Store, StoreSpec
from distil.store.windows import TransitionBatch, Windows
from distil.types import Batch, Episode


def write(path: Path, spec: StoreSpec, episodes: list[Episode]) -> Snapshot:
    """Make a store at `path` with one shard of `episodes`."""
    store = Store.create(path, spec)
    writer = store.writer("w")
    for episode in episodes:
        writer.add(episode)
    entry = writer.seal()
    assert entry
    return store.commit([entry])


def starts(batch: Batch) -> list[float]:
    """Return the number of the transition at which each window starts."""
    return np.asarray(batch.observations["obs"])[:, -1, 0].tolist()  # type: ignore[no-any-return]


def transitions(lengths: list[int]) -> list[float]:
    return [1000.0 * i + t for i, length in enumerate(lengths) for t in range(length)]


def check(batch: Batch, episodes: dict[int, Episode], windows: Windows) -> None:
    """Assert that every sample matches its episode, CORRECTNESS 1, 2 and 6."""
    for row, start in enumerate(starts(batch)):
        number, step = divmod(int(start), 1000)
        episode = episodes[number]
        last, obs = episode.length - 1, episode.observations["obs"]
        seen = [max(step - back, 0) for back in reversed(range(windows.obs_horizon))]
        done = [min(step + ahead, last) for ahead in range(windows.chunk)]
        np.testing.assert_array_equal(batch.observations["obs"][row], obs[seen])
        np.testing.assert_array_equal(batch.actions[row], episode.expert_actions[done])
        pads = [step + ahead > last or not episode.labelled[step + ahead] for ahead in range(windows.chunk)]
        assert batch.is_pad[row].tolist() == pads
        if windows.goal is not None:
            goal = last + 1 if windows.goal == "end" else min(step + windows.goal, last + 1)
            assert batch.observations["goal/obs"][row, 0].tolist() == obs[goal].tolist()
        if windows.n_step is not None:
            assert isinstance(batch, TransitionBatch)
            check_transition(batch, row, episode, step, windows)


def check_transition(batch: TransitionBatch, row: int, episode: Episode, step: int, windows: Windows) -> None:
    assert windows.n_step is not None
    num = min(windows.n_step, episode.length - step)
    assert batch.num_steps[row] == num
    rewards: list[Any] = [*episode.rewards[step : step + num], *[0.0] * (windows.n_step - num)]
    assert (batch.rewards[row].tolist() == rewards) if windows.rewards else batch.rewards is None
    assert batch.executed[row, 0].tolist() == episode.actions[step].tolist()
    assert batch.next_observations["obs"][row, 0].tolist() == episode.observations["obs"][step + num].tolist()
    is_last = step + num == episode.length
    assert (batch.terminated[row], batch.truncated[row]) == (episode.terminated and is_last, episode.truncated and is_last)

"""Episodes that say where they come from: observation = 1000 * number + step, label = 10 * number + step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec
from distil.types import Episode

MakeEpisode = Callable[..., Episode]


@pytest.fixture
def spec() -> StoreSpec:
    return StoreSpec(
        observation=observation_spec(spaces.Box(-np.inf, np.inf, (2,), np.float64)),
        action=action_spec(spaces.Box(-1e9, 1e9, (1,), np.float32)),
        env={"id": "Numbers-v0"},
    )


@pytest.fixture
def make_episode() -> MakeEpisode:
    def make(number: int, length: int, **changes: object) -> Episode:
        steps = np.arange(length + 1, dtype=np.float64)
        actions = (10.0 * number + steps[:length, None]).astype(np.float32)
        facts: dict[str, object] = {
            "observations": {"obs": np.stack([1000.0 * number + steps, -steps], axis=1)},
            "actions": actions,
            "rewards": np.full(length, float(number)),
            "terminated": number % 2 == 0,
            "truncated": number % 2 == 1,
            "expert_actions": actions,
            "labelled": np.ones(length, np.uint8),
            "acted_by_expert": np.ones(length, np.uint8),
            "seed": number,
            "uid": f"test-{number:04d}",
            "source": "expert:test",
        }
        return Episode(**(facts | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def fill(tmp_path: Path, spec: StoreSpec, make_episode: MakeEpisode) -> Callable[..., Store]:
    """Make a store of episodes 0, 1, ... of the given lengths, `shards[i]` being the shard of episode i."""

    def make(lengths: list[int], shards: list[int] | None = None, name: str = "store") -> Store:
        store = Store.create(tmp_path / name, spec)
        chosen = shards or [0] * len(lengths)
        entries = []
        for shard in sorted(set(chosen)):
            writer = store.writer(f"w{shard}")
            for number in reversed(range(len(lengths))):
                if chosen[number] == shard:
                    writer.add(make_episode(number, lengths[number]))
            entries.append(writer.seal())
        store.commit([entry for entry in entries if entry])
        return store

    return make

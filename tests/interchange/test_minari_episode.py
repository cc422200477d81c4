from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.interchange.episodes import BadEpisodeError, Finding, Once
from distil.interchange.minari_actions import Actions
from distil.interchange.minari_episode import read_episode
from distil.spaces import action_spec, observation_spec
from distil.store import StoreSpec
from distil.types import Episode

ACTION = action_spec(spaces.Discrete(2))
SPEC = StoreSpec(observation=observation_spec(spaces.Box(-9, 9, (2,), np.float32)), action=ACTION, infos=("height",))


def read(about: dict[str, Any] | None = None, note: Any = lambda _: None, **changes: Any) -> Episode:
    data = {
        "observations": np.arange(8, dtype=np.float32).reshape(4, 2),
        "actions": np.array([0, 1, 1]),
        "rewards": np.ones(3),
        "terminations": np.array([False, False, True]),
        "truncations": np.zeros(3, bool),
        "infos": {"height": [9, 1, 2, 3]},
    }
    options: dict[str, Any] = {"spec": SPEC, "actions": Actions(space=ACTION), "own": False, "labelled": True}
    return read_episode(data | changes, about or {}, 4, **options, source="minari:x", note=Once(note))


def test_an_episode() -> None:
    episode = read({"seed": 5, "total_steps": 3})
    assert (episode.seed, episode.length, episode.terminated, episode.truncated) == (5, 3, True, False)
    assert episode.observations["obs"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (episode.actions.tolist(), episode.labelled.tolist()) == ([0, 1, 1], [1, 1, 1])


@pytest.mark.parametrize("heights", [[9, 1, 2, 3], [1, 2, 3]], ids=["with the reset's row", "without"])
def test_infos_are_those_of_the_steps(heights: list[int]) -> None:
    infos = read(infos={"height": heights}).infos
    assert infos is not None
    assert [json.loads(text) for text in infos] == [{"height": 1}, {"height": 2}, {"height": 3}]


def test_a_seed_too_large_for_a_store_is_reported_and_left_out() -> None:
    told: list[Finding] = []
    assert read({"seed": 1 << 63}, told.append).seed == 0
    assert [finding.episode for finding in told] == ["episode_4"]
    assert read({"seed": (1 << 63) - 1}, told.append).seed == (1 << 63) - 1


@pytest.mark.parametrize(
    ("about", "changes", "text"),
    [
        ({"total_steps": 2}, {}, "has 3 steps where its metadata says 2"),
        ({}, {"truncations": np.array([True, False, False])}, "truncations is set before the last step"),
        ({}, {"observations": np.zeros((4, 3), np.float32)}, "obs"),
        ({}, {"infos": {}}, "has no infos 'height'; there are none"),
        ({}, {"infos": {"height": {"x": [1]}}}, r"are a group \(x\), not one value a step"),
        ({}, {"infos": {"height": [1, 2]}}, "aren't one value a step"),
    ],
)
def test_contradictions_are_named(about: dict[str, Any], changes: dict[str, Any], text: str) -> None:
    with pytest.raises(BadEpisodeError, match=text):
        read(about, **changes)

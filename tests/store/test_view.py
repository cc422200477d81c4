from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.store import Store, StoreSpec
from distil.store.view import episode_text, info, plot_episode


def test_info_is_plain_data(fill: Callable[..., Store]) -> None:
    summary = json.loads(json.dumps(info(fill([3, 9, 4], [0, 1, 0]))))
    assert (summary["episodes"], summary["transitions"], summary["labels"], summary["shards"]) == (3, 16, 16, 2)
    assert summary["return"] == {"mean": 17 / 3, "min": 0.0, "p25": 4.0, "median": 8.0, "p75": 8.5, "max": 9.0}
    assert summary["sources"] == {"expert:test": 3}
    assert summary["observation"] == "Box(2) float64"


def test_info_of_an_empty_store(tmp_path: Path, spec: StoreSpec) -> None:
    summary = info(Store.create(tmp_path / "demos", spec))
    assert (summary["episodes"], summary["return"], summary["version"]) == (0, {}, 0)


def test_the_table_says_who_acted_and_what_the_label_is(make_episode: Any) -> None:
    mixed = make_episode(1, 4, acted_by_expert=np.array([1, 0, 0, 1], np.uint8), labelled=np.array([1, 1, 0, 1], np.uint8))
    lines = episode_text(mixed, max_steps=3).split("\n")
    assert lines[0] == "episode test-0001: 4 steps, return 4, truncated"
    assert lines[3].split() == ["step", "obs", "action", "reward", "acted", "label"]
    assert lines[4].split() == ["0", "1e+03", "-0", "10", "1", "expert", "10"]
    assert lines[6].split()[-2:] == ["policy", "-"]
    assert lines[7] == "... 1 more"


@pytest.mark.parametrize("images", [False, True])
def test_the_figure_is_drawn(make_episode: Any, tmp_path: Path, images: bool) -> None:
    changes = {"observations": {"obs": np.zeros((5, 8, 8, 3), np.uint8)}} if images else {}
    mixed = make_episode(1, 4, acted_by_expert=np.array([1, 0, 0, 1], np.uint8), **changes)
    plot_episode(mixed, tmp_path / "plots" / "episode.png")
    assert (tmp_path / "plots" / "episode.png").stat().st_size > 5000

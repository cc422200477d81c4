from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError
from distil.store import Store, StoreSpec
from distil.store.view import as_image, distribution_text, episode_text, frames, info, info_text


def test_info_is_plain_data(fill: Callable[..., Store]) -> None:
    summary = json.loads(json.dumps(info(fill([3, 9, 4], [0, 1, 0]))))
    assert (summary["episodes"], summary["transitions"], summary["labels"], summary["shards"]) == (3, 16, 16, 2)
    assert summary["return"] == {"mean": 17 / 3, "min": 0.0, "p25": 4.0, "median": 8.0, "p75": 8.5, "max": 9.0}
    assert summary["sources"] == {"expert:test": 3}
    assert summary["observation"] == "Box(2) float64"


def test_info_for_people_has_units_and_no_dictionaries(fill: Callable[..., Store], tmp_path: Path, spec: StoreSpec) -> None:
    text = info_text(info(fill([3, 9, 4], [0, 1, 0])))
    assert "{" not in text
    assert max(map(len, text.splitlines()[4:])) <= 80  # a path may be longer
    lines = {line.split("  ")[0]: " ".join(line.split()) for line in text.splitlines()}
    assert lines["labels"] == "labels 16 steps, 100 %"
    assert lines["episodes"] == "episodes 3 (2 terminated, 1 truncated)"
    assert lines["return"] == "return mean 5.66667 (min 0, 25 % 4, median 8, 75 % 8.5, max 9)"
    assert "B in 2 shards" in lines["size"]
    assert lines["sources"] == "sources expert:test: 3 episodes"
    empty = info_text(info(Store.create(tmp_path / "demos", spec)))
    assert "0 B in 0 shards" in empty
    assert "mean" not in empty


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


def test_the_spread_in_text(fill: Callable[..., Store]) -> None:
    lines = distribution_text(fill([3, 9, 4]).snapshot(), bins=3).split("\n")
    assert lines[0].endswith("store: version 1, episodes: 3, transitions: 16")
    assert lines[2] == "return: mean 5.66667, min 0, median 8, max 9"
    assert [line.split()[3:] for line in lines[3:6]] == [["1", "#" * 20], ["0"], ["2", "#" * 40]]
    assert lines[-1].split() == ["expert:test", "3", "5.66667", "5.33333"]


def test_the_spread_of_nothing_and_of_equal_episodes(fill: Callable[..., Store]) -> None:
    snapshot = fill([3]).snapshot()
    assert "\n" not in distribution_text(snapshot.first(0))
    assert "length: mean 3, min 3, median 3, max 3\n\nsource" in distribution_text(snapshot)


@pytest.mark.parametrize("shape", [(16, 12), (16, 12, 3), (3, 16, 12), (16, 12, 1), (4, 16, 12)])
def test_images_of_any_layout_become_rgb_frames(make_episode: Any, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    episode = make_episode(1, 4, observations={"obs/state": np.zeros((5, 2)), "obs/image": images})
    shown = list(frames(episode))
    assert len(shown) == 5
    assert {frame.shape for frame in shown} == {(16 * 21, 12 * 21, 3)}  # enlarged to 256 pixels
    first = shown[0][::21, ::21]
    expected = {(3, 16, 12): lambda: images[0].transpose(1, 2, 0), (16, 12, 3): lambda: images[0]}
    np.testing.assert_array_equal(first, expected.get(shape, lambda: as_image(images[0]))())


def test_what_is_no_image_is_said(make_episode: Any) -> None:
    with pytest.raises(InputError, match="episode test-0001 has no image observation"):
        next(frames(make_episode(1, 4)))
    episode = make_episode(1, 4, observations={"obs/image": np.zeros((5, 8, 8, 3), np.uint8)})
    with pytest.raises(InputError, match="obs/depth: the images are obs/image"):
        next(frames(episode, "obs/depth"))


def test_the_last_of_stacked_images_is_shown() -> None:
    stacked = np.random.default_rng(0).integers(0, 256, (4, 9, 8, 3), np.uint8)
    np.testing.assert_array_equal(as_image(stacked), stacked[-1])
    np.testing.assert_array_equal(as_image(np.moveaxis(stacked, -1, 1)), stacked[-1])

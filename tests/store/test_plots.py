from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.store import Store, StoreSpec
from distil.store.plots import disagreement, plot_distribution, plot_episode


@pytest.mark.parametrize("kind", ["states", "images", "both", "discrete"])
def test_an_episode_is_drawn(make_episode: Any, tmp_path: Path, kind: str) -> None:
    image, state = np.zeros((5, 16, 12, 3), np.uint8), np.zeros((5, 30), np.float32)
    observations = {"images": {"obs": image}, "both": {"obs/image": image, "obs/state": state}, "states": {"obs": state}}
    changes: dict[str, Any] = {"observations": observations.get(kind, {"obs": np.arange(5)})}
    if kind == "discrete":
        changes |= {"actions": np.array([0, 1, 1, 0]), "expert_actions": np.array([0, 0, 1, 0])}
    mixed = make_episode(1, 4, acted_by_expert=np.array([1, 0, 0, 1], np.uint8), **changes)
    plot_episode(mixed, tmp_path / "plots" / "episode.png")
    assert (tmp_path / "plots" / "episode.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "plots" / "episode.png").stat().st_size > 5000


def test_disagreement_is_where_a_policy_acted_and_the_label_is_another_action(make_episode: Any) -> None:
    acted = np.array([1, 0, 0, 0, 0], np.uint8)
    asked = np.array([1, 1, 1, 1, 0], np.uint8)
    labels = np.array([0, 0, 1, 0, 0])
    discrete = make_episode(
        1, 5, actions=np.array([1, 0, 0, 0, 1]), expert_actions=labels, acted_by_expert=acted, labelled=asked
    )
    assert disagreement(discrete).tolist() == [False, False, True, False, False]
    box = np.array([[0.0], [10.0], [5.0], [5.0], [5.0]], np.float32)
    near = make_episode(
        1,
        5,
        actions=box + np.float32([[9], [0.9], [1.1], [-1.1], [9]]),
        expert_actions=box,
        acted_by_expert=acted,
        labelled=asked,
    )
    assert disagreement(near).tolist() == [False, False, True, True, False]  # beyond a tenth of the labels' range


def test_dimensions_are_named_and_disagreement_is_marked(make_episode: Any, tmp_path: Path) -> None:
    acted = np.zeros(4, np.uint8)
    changes = {"observations": {"obs": np.zeros((5, 4))}, "actions": np.array([0, 1, 1, 0])}
    changes |= {"expert_actions": np.array([0, 0, 1, 0]), "acted_by_expert": acted}
    plot_episode(make_episode(1, 4, **changes), tmp_path / "a.svg", "CartPole-v1")
    text = (tmp_path / "a.svg").read_text()
    for word in ("pole angle", "left", "disagree: 1 of 4 steps"):
        assert f"<!-- {word} -->" in text
    plot_episode(make_episode(1, 4, **changes), tmp_path / "b.svg")
    assert "<!-- obs[2] -->" in (tmp_path / "b.svg").read_text()


def test_the_spread_is_drawn(make_episode: Any, tmp_path: Path, spec: StoreSpec) -> None:
    store = Store.create(tmp_path / "store", spec)
    writer = store.writer("w")
    for number in range(20):
        writer.add(make_episode(number, 3 + number, round=number // 5, source=f"policy:{number % 9}"))
    entry = writer.seal()
    assert entry is not None
    snapshot = store.commit([entry])
    plot_distribution(snapshot, tmp_path / "many.png")
    plot_distribution(snapshot.first(1), tmp_path / "one.png")
    plot_distribution(snapshot.first(0), tmp_path / "none.png")
    assert (tmp_path / "many.png").stat().st_size > (tmp_path / "one.png").stat().st_size > 5000


def test_nothing_is_left_behind_when_drawing_fails(fill: Callable[..., Store], tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    snapshot = fill([3]).snapshot()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        plot_distribution(snapshot, tmp_path / "file" / "plot.png")
    assert dict(mpl.rcParams) == before

"""The figures are well-formed, and hatch what no data cover."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
from rewardpagebed import study_of

from distil.rewardpage.figures import HATCH, along, bars, grid, heatmap
from distil.rewardpage.slices import NUM_CELLS


def kinds(figure: str) -> list[str]:
    return [part.get("class", "") for part in ElementTree.fromstring(figure).iter("rect")]


def test_an_episode_has_two_lines() -> None:
    text = along(np.arange(1000.0), np.zeros(1000), "x")
    assert len(list(ElementTree.fromstring(text).iter("polyline"))) == 2
    assert len(text) < 15_000
    ElementTree.fromstring(along(np.zeros(1), np.zeros(1), "x"))


def test_a_slice_is_hatched_where_no_data_are() -> None:
    found = study_of("pendulum").slice
    drawn = kinds(heatmap(found))
    assert drawn.count("hatched") == (~found.is_covered_RC).sum() > 0
    assert len(drawn) > NUM_CELLS**2
    uncovered = np.where(found.is_covered_RC, found.rewards_RC, 1e6)  # what is hatched does not set the colours' range
    assert "<text" in heatmap(found)
    assert heatmap(replace(found, rewards_RC=uncovered)) == heatmap(found)


def test_a_grid_shows_walls_and_goal() -> None:
    found = study_of("grid").states
    drawn = kinds(grid(found, found.learned[:, 0], "learned"))
    assert (drawn.count("wall"), drawn.count("goal")) == (7, 1)
    assert drawn.count("hatched") == (~found.is_seen & ~found.is_wall).sum()


def test_states_without_a_grid_are_bars() -> None:
    found = study_of("grid").states
    drawn = kinds(bars(found, found.learned[:, 0], "learned"))
    assert (len(drawn), drawn.count("hatched")) == (64, (~found.is_seen).sum())


def test_the_hatching_is_defined_once() -> None:
    assert ElementTree.fromstring(HATCH).find(".//pattern").get("id") == "hatch"

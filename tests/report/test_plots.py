"""Plots, looked at by their pixels."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from distil.report import Curve, Score, plot_curves, plot_levels, plot_scores
from distil.report.plots import log_ticks

EXPERT = Score(name="expert", mean=262.3, low=251.0, high=270.0, normalised=1.0)
RANDOM = Score(name="random", mean=-188.2, low=-210.0, high=-170.0, normalised=0.0)


def bc(num: int, mean: float) -> Score:
    name = f"BC, {num} episodes"
    return Score(
        name=name, mean=mean, low=mean - 20, high=mean + 20, normalised=0.5, num_demonstrations=num, num_transitions=213 * num
    )


def pixels(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


def has_colour(image: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return bool((np.abs(image - wanted).max(-1) < 0.01).sum() > 50)


def test_score_plot_shows_methods_expert_and_random(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "scores.png"
    scores = [bc(200, 251.0), bc(2, -35.0), bc(20, 178.0)]
    assert (
        plot_scores({"BC": scores}, path, expert=EXPERT, random=RANDOM, title="LunarLander-v3", subtitle="50 episodes") == path
    )
    image = pixels(path)
    assert image.shape == (800, 1280, 3)
    assert has_colour(image, "#0072B2")
    assert has_colour(image, "#222222")
    assert has_colour(image, "#8A8A8A")


def test_score_plot_of_one_point_and_of_none(tmp_path: Path) -> None:
    plot_scores({"BC": [bc(200, 251.0)]}, tmp_path / "one.png")
    plot_scores({}, tmp_path / "none.png", expert=EXPERT)
    assert has_colour(pixels(tmp_path / "one.png"), "#0072B2")
    assert has_colour(pixels(tmp_path / "none.png"), "#222222")


def test_learning_curves(tmp_path: Path) -> None:
    x = np.arange(1, 20_000, 50)
    curves = {name: Curve(x=x, y=k / x, low=k / x * 0.9, high=k / x * 1.1) for name, k in (("BC", 1.0), ("DAgger", 2.0))}
    image = pixels(plot_curves(curves, tmp_path / "curves.png", ylabel="loss", title="loss", log_y=True))
    assert has_colour(image, "#0072B2")
    assert has_colour(image, "#D55E00")


@pytest.mark.parametrize(
    ("y", "log_y"), [((2e-5, 2.8e-5), True), ((2e-4, 12345.0), True), ((0.3, 0.31), True), ((-1_250_000.0, 3.0), False)]
)
def test_curves_leave_room_for_the_numbers_of_their_axis(tmp_path: Path, y: tuple[float, float], log_y: bool) -> None:
    curves = {"a": Curve(x=[0, 20_000], y=y)}
    image = pixels(plot_curves(curves, tmp_path / "a.png", ylabel="return per episode", title="title", log_y=log_y))
    inked = (image < 0.8).any(axis=2)
    assert not inked[:, :4].any()  # nothing is cut off
    assert not inked[:, -4:].any()
    assert not inked[-4:].any()
    assert not inked[:4].any()
    assert inked[:, :40].any()  # and no room is wasted


def test_plots_leave_no_global_state(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_scores({"BC": [bc(2, 1.0)]}, tmp_path / "a.png")
    assert dict(mpl.rcParams) == before


def test_a_score_of_one_episode_has_no_interval(tmp_path) -> None:
    one = Score(name="BC, 2 episodes", mean=12.0, low=None, high=None, num_demonstrations=2)
    assert plot_scores({"BC": [one]}, tmp_path / "score.png", expert=EXPERT, random=one).stat().st_size > 0


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (740, 54_000, [1000, 10_000, 30_000]),
        (3.7, 270, [10, 30, 100]),
        (148, 270, [200]),
        (222, 405, [250, 300, 350, 400]),
        (0.9, 1.2e6, [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]),
    ],
)
def test_ticks_of_a_log_axis_are_round_and_not_the_data(low: float, high: float, ticks: list[float]) -> None:
    assert set(ticks) <= set(log_ticks(low, high))
    assert all(low <= tick <= high for tick in log_ticks(low, high))
    assert 2 <= len(log_ticks(low, high)) <= 9


def test_the_normalised_score_is_at_the_right_where_both_ends_are_known(tmp_path: Path) -> None:
    scores = {"BC": [bc(2, -35.0), bc(200, 251.0)]}
    plain = pixels(plot_scores(scores, tmp_path / "a.png", expert=EXPERT))
    both = pixels(plot_scores(scores, tmp_path / "b.png", expert=EXPERT, random=RANDOM))
    dark = [(image[:, -60:-4] < 0.5).all(axis=2).sum() for image in (plain, both)]
    assert dark[1] > dark[0] + 300  # ticks' numbers and the name


def test_each_score_has_a_line_with_its_interval(tmp_path: Path) -> None:
    scores = [
        Score(name="expert", mean=10.0, low=None, high=None),
        Score(name="learned", mean=8.0, low=6.0, high=10.0, runs=(7.0, 9.0)),
        Score(name="random", mean=0.0, low=None, high=None),
    ]
    path = plot_levels(scores, tmp_path / "plots" / "levels.png", title="T", subtitle="s", xlabel="x")
    image = pixels(path)
    assert all(has_colour(image, colour) for colour in ("#222222", "#D55E00", "#8A8A8A"))
    assert path.read_bytes() != plot_levels(scores[:2], tmp_path / "two.png").read_bytes()

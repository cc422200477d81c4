"""Plots of scores and of curves. Matplotlib is imported only when one is drawn.

Plots use Okabe and Ito's colours, which colour-blind people can tell apart, and a different marker for each method, so that
they also work in greyscale. Figures are drawn without pyplot: no global state, no window, no display needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from distil.report.tables import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_EXPERT, _RANDOM = "#222222", "#8A8A8A"
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 14,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E6E6E6",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "savefig.dpi": 160,
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line, with an interval if `low` and `high` are given. All have the same length."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def plot_scores(
    methods: Mapping[str, Sequence[Score]],
    path: Path | str,
    *,
    expert: Score | None = None,
    random: Score | None = None,
    title: str = "",
    subtitle: str = "",
    xlabel: str = "demonstrations (episodes)",
) -> Path:
    """Draw score against demonstrations: log x axis, 95 % intervals as bands, expert and random as lines; return `path`.

    Scores over several training runs have a dot for each of them. With the scores of expert and random policy, an axis at the
    right has the normalised score.

    Args:
        methods: name -> scores; scores without `num_demonstrations` are left out.
        path: the PNG (or PDF, SVG) to write.
        expert: the score of the expert that demonstrates.
        random: the score of a random policy.
        title: the subject, such as the environment's id.
        subtitle: how it was measured, in small print.
        xlabel: what `num_demonstrations` counts.
    """
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure, axes = _figure(title, subtitle)
        _log_x(axes, sorted({s.num_demonstrations for scores in methods.values() for s in scores if s.num_demonstrations}))
        for index, (name, scores) in enumerate(methods.items()):
            known = sorted((s for s in scores if s.num_demonstrations), key=lambda s: s.num_demonstrations or 0)
            _draw(axes, name, _curve(known), index, marker=True)
            _dots(axes, known, index)
        for score, colour, dashes in ((expert, _EXPERT, (6, 3)), (random, _RANDOM, (2, 2))):
            if score is not None:
                _level(axes, score, colour, dashes)
        if expert is not None and random is not None and expert.mean != random.mean:
            _normalised_axis(axes, random.mean, expert.mean)
        axes.set_xlabel(f"{xlabel}, log scale")
        axes.set_ylabel("return per episode")
        axes.margins(y=0.08)
        _legend(axes, len(methods))
        return _save(figure, path)


def plot_curves(
    curves: Mapping[str, Curve],
    path: Path | str,
    *,
    xlabel: str = "gradient steps",
    ylabel: str = "return per episode",
    title: str = "",
    subtitle: str = "",
    log_y: bool = False,
    marks: Sequence[float] = (),
    marks_name: str = "",
) -> Path:
    """Draw learning curves, each with its own colour and line style, intervals as bands; return `path`.

    A thin vertical line marks each x in `marks`; the legend calls them `marks_name`.
    """
    import matplotlib as mpl
    from matplotlib.ticker import EngFormatter

    with mpl.rc_context(_STYLE):
        figure, axes = _figure(title, subtitle, layout=None)
        figure.subplots_adjust(right=0.985, bottom=0.1, top=0.92 if log_y and not subtitle else 0.84)
        for index, (name, curve) in enumerate(curves.items()):
            _draw(axes, name, curve, index, marker=len(curve.x) <= 30)
        for number, x in enumerate(marks):
            axes.axvline(x, color=_RANDOM, linewidth=0.8, alpha=0.6, zorder=1, label=None if number else marks_name)
        if any(abs(x) >= 10_000 for curve in curves.values() for x in curve.x):
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.margins(x=0.02, y=0.08)
        if log_y:
            _log_scale(axes)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(f"{ylabel}, log scale" if log_y else ylabel)
        # the layout "constrained" measures all texts several times, which takes longer than drawing them
        labels = axes.yaxis.get_tightbbox()
        assert labels is not None
        figure.subplots_adjust(left=(axes.bbox.x0 - labels.x0 + 6) / figure.bbox.width)
        _legend(axes, len(curves))
        return _save(figure, path)


def plot_levels(scores: Sequence[Score], path: Path | str, *, title: str = "", subtitle: str = "", xlabel: str = "") -> Path:
    """Draw scores one below the other, the first one at the top; return `path`.

    Args:
        scores: with a name each; `mean`, the interval and `runs` are drawn.
        path: the PNG (or PDF, SVG) to write.
        title: the subject.
        subtitle: how it was measured, in small print.
        xlabel: what `mean` is.
    """
    import matplotlib as mpl

    with mpl.rc_context({**_STYLE, "axes.grid.axis": "x"}):
        figure, axes = _figure(title, subtitle)
        for place, score in enumerate(scores):
            colour = {"random": _RANDOM, "expert": _EXPERT}.get(score.name, _COLOURS[place % len(_COLOURS)])
            if score.low is not None and score.high is not None:
                axes.plot([score.low, score.high], [place, place], color=colour, linewidth=6, alpha=0.25, solid_capstyle="butt")
            axes.plot(score.runs, [place] * len(score.runs), ".", color=colour, markersize=7, alpha=0.6)
            axes.plot([score.mean], [place], "D", color=colour, markersize=8, markeredgecolor="white")
        axes.set_yticks(range(len(scores)), [score.name for score in scores])
        axes.invert_yaxis()
        axes.margins(x=0.06, y=0.12)
        axes.set_xlabel(xlabel)
        return _save(figure, path)


def _figure(title: str, subtitle: str, layout: Literal["constrained"] | None = "constrained") -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if title:
        axes.set_title(title, pad=28 if subtitle else None)
    if subtitle:
        axes.annotate(
            subtitle, (0, 1), (0, 10), xycoords="axes fraction", textcoords="offset points", color="#666666", fontsize=10
        )
    return figure, axes


def _log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers; below one decade, its minor ticks have numbers too."""
    from matplotlib.ticker import NullFormatter

    axes.set_yscale("log")
    axes.grid(which="minor", linewidth=0.4)
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter("{x:g}")  # powers of ten would need Matplotlib's parser of formulas
    axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())


def _draw(axes: Axes, name: str, curve: Curve, index: int, *, marker: bool) -> None:
    colour = _COLOURS[index % len(_COLOURS)]
    style = ("-", "--", "-.", ":")[index // len(_COLOURS) % 4] if marker else ("-", "--", "-.", ":")[index % 4]
    if curve.low is not None and curve.high is not None:
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    shape = _MARKERS[index % len(_MARKERS)] if marker else None
    axes.plot(
        curve.x,
        curve.y,
        style,
        color=colour,
        label=name,
        linewidth=2.2 if marker else 1.6,
        marker=shape,
        markersize=7,
        markeredgecolor="white",
        zorder=3,
    )


def _curve(scores: Sequence[Score]) -> Curve:
    return Curve(
        x=[s.num_demonstrations or 0 for s in scores],
        y=[s.mean for s in scores],
        low=[s.mean if s.low is None else s.low for s in scores],
        high=[s.mean if s.high is None else s.high for s in scores],
    )


def _dots(axes: Axes, scores: Sequence[Score], index: int) -> None:
    """Draw a dot for each training run."""
    x = [score.num_demonstrations or 0 for score in scores for _ in score.runs]
    y = [value for score in scores for value in score.runs]
    axes.plot(x, y, ".", color=_COLOURS[index % len(_COLOURS)], markersize=5, alpha=0.6, zorder=2.5)


def _log_x(axes: Axes, numbers: Sequence[int]) -> None:
    """Make the x axis logarithmic, with room around the numbers and ticks at round values."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    if numbers:
        low, high = numbers[0] / 1.35, numbers[-1] * 1.35
        axes.set_xlim(low, high)
        ticks = log_ticks(low, high)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])


def log_ticks(low: float, high: float) -> list[float]:
    """Return ticks of a logarithmic axis: round values, at least two, evenly dense."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    found: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)):
        found = [tick for power in powers for digit in digits if low <= (tick := float(f"{digit}e{power}")) <= high]
        if len(found) >= 3:
            return found
    return found


def _normalised_axis(axes: Axes, random: float, expert: float) -> None:
    right = axes.secondary_yaxis(
        "right",
        functions=(
            lambda y: (np.asarray(y) - random) / (expert - random),
            lambda n: random + np.asarray(n) * (expert - random),
        ),
    )
    right.set_ylabel("normalised (0: random policy, 1: expert)")
    right.spines["right"].set_visible(True)


def _level(axes: Axes, score: Score, colour: str, dashes: tuple[int, int]) -> None:
    if score.low is not None and score.high is not None:
        axes.axhspan(score.low, score.high, color=colour, alpha=0.07, linewidth=0)
    axes.axhline(score.mean, color=colour, linewidth=1.5, dashes=dashes, zorder=2)
    axes.annotate(
        f"{score.name} {score.mean:,.0f}".replace("-", "\N{MINUS SIGN}"),
        (0, score.mean),
        (4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=colour,
        fontsize=9,
        va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.7},
    )


def _legend(axes: Axes, num_lines: int) -> None:
    if num_lines:
        axes.legend(loc="best", handlelength=2.6)


def _save(figure: Figure, path: Path | str) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path

"""Figures of a store: one episode over time, and how returns and lengths are spread. Matplotlib is imported when one is drawn.

The colours are Okabe and Ito's, which colour-blind people can tell apart. No pyplot: no window, no display needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distil.store.dimensions import names_of
from distil.store.snapshot import Snapshot
from distil.store.view import as_image, image_leaves
from distil.types import Array, Episode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8A8A8A")
_EXPERT = "#F3E9C8"
_DISAGREE = "#C0143C"
_TOLERANCE = 0.1  # of the labels' range
_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_MAX_LINES = len(_COLOURS)  # dimensions drawn in one panel
_MAX_SOURCES = 6
_FILM = 8  # frames of an image observation


def plot_episode(episode: Episode, path: Path, env: str = "") -> None:
    """Draw observations, executed and expert actions, and rewards over time; shaded steps are the expert's, if some are.

    Images are a strip of frames. Observations of many dimensions show the first ones, and say so. Marks above the actions show
    where a policy acted and the expert's label is another action (a Box: by more than a tenth of the labels' range).

    Args:
        episode: the episode.
        path: the PNG to write.
        env: the environment's id, whose dimensions have names if it is one of Gymnasium's classic ones.
    """
    named = names_of(env)
    images = image_leaves(episode.observations)
    heights = [1.2 if name in images else 1.6 for name in episode.observations] + [1.8, 1.2]
    with _figure((10, 1.1 + sum(heights)), path) as figure:
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        timed = [axis for axis, name in zip(axes, [*episode.observations, "", ""], strict=True) if name not in images]
        for axis in timed[:-1]:
            axis.sharex(timed[-1])
            axis.tick_params(labelbottom=False)
        for axis, (name, values) in zip(axes, episode.observations.items(), strict=False):
            if name in images:
                _film(axis, name, values)
            else:
                _lines(axis, name, values, named.observation)
        _actions(axes[-2], episode, named.action)
        axes[-1].step(np.arange(episode.length), episode.rewards, where="post", color=_COLOURS[0])
        axes[-1].set_ylabel("reward")
        axes[-1].set_xlabel("step")
        for axis in timed:
            _shade(axis, episode)
        figure.suptitle(f"{episode.uid}: {episode.length} steps, return {episode.total_reward:.6g}", x=0.01, ha="left")


def plot_distribution(snapshot: Snapshot, path: Path) -> None:
    """Draw how the episodes' returns and lengths are spread, by source, and the returns by round if there are several."""
    facts = snapshot.episodes
    rounds = np.unique(facts.round)
    names, counts = np.unique(facts.source, return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")]][:_MAX_SOURCES]
    groups = [(name or "no source", facts.source == name) for name in shown]
    if len(shown) < len(names):
        groups.append((f"{len(names) - len(shown)} other sources", ~np.isin(facts.source, shown)))
    num = 2 + (len(rounds) > 1)
    with _figure((5 * num, 3.8), path) as figure:
        axes = figure.subplots(1, num)
        for axis, label, values in ((axes[0], "return", facts.total_reward), (axes[1], "length (steps)", facts.length)):
            _histogram(axis, label, values, groups)
        if len(groups) > 1:
            axes[0].legend(loc="best")
        if num == 3:
            _by_round(axes[2], facts.total_reward, facts.round, rounds)
        title = f"{snapshot.path.name}, version {snapshot.version}: episodes: {snapshot.num_episodes:,}"
        figure.suptitle(f"{title}, transitions: {snapshot.num_transitions:,}", x=0.01, ha="left")


def _histogram(axis: Axes, label: str, values: Array, groups: Sequence[tuple[str, Array]]) -> None:
    bins = min(40, max(8, 2 * int(np.sqrt(len(values))))) if len(np.unique(values)) > 1 else 1
    edges = np.histogram_bin_edges(values.astype(np.float64), bins=bins)
    if groups:
        parts = [values[mask] for _, mask in groups]
        names, colours = [name for name, _ in groups], _COLOURS[: len(groups)]
        axis.hist(parts, edges.tolist(), stacked=True, color=colours, label=names, edgecolor="white", linewidth=0.5)
        median = float(np.median(values))
        axis.axvline(median, color="#222222", linewidth=1.2, linestyle="--")
        where = ("right", (-4, -2)) if median > edges.mean() else ("left", (4, -2))
        axis.annotate(
            f"median {median:,.6g}",
            (median, 1),
            where[1],
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha=where[0],
            va="top",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )
    axis.margins(y=0.12)  # room for the median's label
    axis.set_xlabel(label)
    axis.set_ylabel("episodes")
    axis.grid(axis="x", visible=False)
    _whole(axis.yaxis)


def _by_round(axis: Axes, returns: Array, rounds: Array, numbers: Array) -> None:
    spread = np.array([np.quantile(returns[rounds == number], (0.25, 0.5, 0.75)) for number in numbers])
    axis.fill_between(numbers, spread[:, 0], spread[:, 2], color=_COLOURS[0], alpha=0.16, linewidth=0, label="middle half")
    axis.plot(numbers, spread[:, 1], "o-", color=_COLOURS[0], label="median", markeredgecolor="white")
    axis.set_xlabel("round")
    axis.set_ylabel("return")
    _whole(axis.xaxis)
    axis.legend(loc="best")


def _actions(axis: Axes, episode: Episode, names: Sequence[str]) -> None:
    actions, labels = _flat(episode.actions), _flat(episode.expert_actions).astype(np.float64)
    labels[episode.labelled == 0] = np.nan
    differ = bool(np.any((labels != actions)[episode.labelled == 1]))
    steps = np.arange(episode.length)
    discrete = episode.actions.dtype.kind in "iu"
    for index, colour in enumerate(_COLOURS[: actions.shape[1]]):
        name = _dimension("action", index, actions.shape[1], () if discrete else names)
        axis.step(steps, actions[:, index], where="post", color=colour, linewidth=1.2, label=name)
        if differ:
            axis.plot(steps, labels[:, index], ".", color=colour, markersize=4)
    if differ:
        axis.plot([], [], ".", color="#222222", markersize=4, label="expert's")
        _mark(axis, steps[disagreement(episode)], int(np.count_nonzero(episode.acted_by_expert == 0)))
    _name(axis, "action", actions.shape[1])
    if discrete:
        _whole(axis.yaxis)
        if names and actions.shape[1] == 1:
            axis.set_yticks(range(len(names)), names)
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1.05))


def disagreement(episode: Episode) -> Array:
    """Return [T] bool: where a policy acted and the label is another action; a Box: by over a tenth of the labels' range."""
    actions, labels = _flat(episode.actions), _flat(episode.expert_actions)
    asked = (episode.labelled == 1) & (episode.acted_by_expert == 0)
    if actions.dtype.kind in "iu":
        return np.asarray(asked & np.any(actions != labels, axis=1))
    known = labels[episode.labelled == 1]
    tolerance = _TOLERANCE * np.ptp(known, axis=0) if len(known) else np.zeros(labels.shape[1])
    return np.asarray(asked & np.any(np.abs(actions.astype(np.float64) - labels) > tolerance, axis=1))


def _mark(axis: Axes, steps: Array, num_acted: int) -> None:
    """Mark steps above the panel."""
    text = f"disagree: {len(steps)} of {num_acted} steps"
    heights, above = np.full(len(steps), 1.03), axis.get_xaxis_transform()
    axis.plot(steps + 0.5, heights, "|", color=_DISAGREE, markersize=7, label=text, transform=above, clip_on=False)


def _lines(axis: Axes, name: str, values: Array, names: Sequence[str]) -> None:
    flat = _flat(values)
    for index, colour in enumerate(_COLOURS[: flat.shape[1]]):
        axis.plot(flat[:, index], color=colour, linewidth=1.2, label=_dimension(name, index, flat.shape[1], names))
    _name(axis, name, flat.shape[1])
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1.05), labelspacing=0.15)


def _dimension(name: str, index: int, num: int, names: Sequence[str]) -> str:
    """Return what a dimension is called: its own name, where it is known, else `obs[3]`."""
    return names[index] if len(names) == num else f"{name}[{index}]" if num > 1 else name


def _name(axis: Axes, name: str, num: int) -> None:
    axis.set_ylabel(name + (f"\nfirst {_MAX_LINES} of {num}" if num > _MAX_LINES else ""))


def _film(axis: Axes, name: str, values: Array) -> None:
    steps = np.unique(np.linspace(0, len(values) - 1, min(_FILM, len(values))).round().astype(np.int64))
    frames = [as_image(values[step]) for step in steps]
    height, width = frames[0].shape[:2]
    gap = max(1, width // 16)
    strip = np.full((height, len(frames) * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        strip[:, index * (width + gap) : index * (width + gap) + width] = frame
    axis.imshow(strip, interpolation="nearest", aspect="equal")
    axis.set_xticks([index * (width + gap) + width / 2 for index in range(len(frames))], [str(step) for step in steps])
    axis.set_yticks([])
    axis.set_ylabel(name)
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(length=0)


def _shade(axis: Axes, episode: Episode) -> None:
    expert = episode.acted_by_expert.astype(bool)
    if not 0 < np.count_nonzero(expert) < episode.length:
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[False], expert, [False]])))
    for first, end in edges.reshape(-1, 2):
        axis.axvspan(first, end, color=_EXPERT, linewidth=0, zorder=0)
    if axis.get_xlabel():
        axis.set_xlabel("step (shaded: the expert acted)")


def _whole(axis: Any) -> None:
    axis.get_major_locator().set_params(integer=True)


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)


@contextmanager
def _figure(size: tuple[float, float], path: Path) -> Iterator[Figure]:
    """Yield a figure in this module's style; it is saved to `path` when the block ends well."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)

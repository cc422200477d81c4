"""The page's figures: a strip of dots for each method, learning curves, score against labels, and a sweep's search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distil.compare.curves import AXES, curve_of, front
from distil.compare.methods import Method
from distil.compare.svg import MAX_COLOURS, Scale, area, colour, document, dot, line, path, scale_of, tick_text, words
from distil.compare.verdict import number
from distil.report import Curve

STRIP = 220.0  # width of a strip, in pixels
_WIDTH, _HEIGHT = 380.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 340.0, 12.0, 206.0  # of the plot inside a figure
_MAX_DOTS = 60  # a strip with more seeds shows the first ones


def levels_of(methods: Sequence[Method]) -> dict[str, float]:
    """Return the scores of the random policy and the expert, where all runs have the same ones."""
    found = {}
    for name in ("random", "expert"):
        values = {getattr(point, name) for method in methods for point in method.points}
        if len(values) == 1 and (value := values.pop()) is not None:
            found[name] = float(value)
    return found


def strip_scale(methods: Sequence[Method], levels: Mapping[str, float]) -> Scale:
    """Return the scale that all strips share: all scores and the expert; the random policy only if it is near."""
    scores = [score for method in methods for score in method.scores]
    values = [*scores, *([levels["expert"]] if "expert" in levels else [])]
    spread = max(values) - min(values)
    if "random" in levels and min(values) - levels["random"] < spread / 2:
        values.append(levels["random"])
    return scale_of(values, 6, STRIP - 6, pad=0.04)


def strip(method: Method, index: int, scale: Scale, levels: Mapping[str, float]) -> str:
    """Return a row's figure: a dot for each seed, the mean as a line, its interval as a bar."""
    parts = [line(scale(v), 0, scale(v), 28, name) for name, v in levels.items() if scale.low <= v <= scale.high]
    if (interval := method.interval) is not None:
        ends = [scale(min(max(end, scale.low), scale.high)) for end in interval]
        parts.append(line(ends[0], 14, ends[1], 14, "interval"))
    for seed, score in list(zip(method.seeds, method.scores, strict=True))[:_MAX_DOTS]:
        parts.append(dot(scale(score), 14 + _shift(seed), 3.2, "seed", f"seed {seed}: {number(score)}"))
    parts.append(line(scale(method.mean), 6, scale(method.mean), 22, "mean"))
    return document(STRIP, 28, [f'<g class="{colour(index)}">', *parts, "</g>"], f"scores of {method.name}")


def strip_axis(scale: Scale, levels: Mapping[str, float]) -> str:
    """Return the axis of the strips, for the head of their column."""
    parts = []
    for tick in scale.ticks(4):
        parts += [line(scale(tick), 26, scale(tick), 30, "tick"), words(scale(tick), 22, tick_text(tick), anchor="middle")]
    shown = {name: value for name, value in levels.items() if scale.low <= value <= scale.high}
    for name, value in shown.items():
        near_end = scale(value) > STRIP / 2
        parts += [line(scale(value), 12, scale(value), 30, name)]
        parts += [words(scale(value), 9, name, f"{name}-name", "end" if near_end else "start")]
    return document(STRIP, 30, parts, "axis of the scores")


def _shift(seed: int) -> float:
    """Move a dot up or down by its seed, so that equal scores do not hide each other."""
    return ((seed * 7) % 5 - 2) * 1.6


def curve_figures(methods: Sequence[Method], levels: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return title and figure of the learning curves against each budget that a curve can be drawn for."""
    shown = methods[:MAX_COLOURS]
    out = []
    for key, name in AXES.items():
        curves = [curve_of(method, key) for method in shown]
        ends = [(method.budget(key), method.mean) for method in shown]
        if any(curve is not None for curve in curves):
            out.append((f"Return against {name}", _curves(curves, ends, levels, name)))
    return out


def _curves(
    curves: Sequence[Curve | None], ends: Sequence[tuple[float | None, float]], levels: Mapping[str, float], name: str
) -> str:
    lines = [curve for curve in curves if curve is not None]
    xs = [x for curve in lines for x in curve.x] + [x for x, _ in ends if x is not None]
    ys = [y for curve in lines for y in curve.y] + [y for _, y in ends]
    x_scale, y_scale = _scales(xs, ys, levels)
    parts = _axes(x_scale, y_scale, levels, name)
    for index, (curve, (end, mean)) in enumerate(zip(curves, ends, strict=True)):
        inner = []
        if curve is not None:
            inner += _band(curve, x_scale, y_scale)
            inner.append(path([(x_scale(x), y_scale(y)) for x, y in zip(curve.x, curve.y, strict=True)], "curve"))
        if end is not None and (end > 0 or not x_scale.log):
            inner.append(dot(x_scale(end), y_scale(mean), 4.5, "end", f"at the end: {number(mean)}"))
        parts.append(f'<g class="{colour(index)}">{"".join(inner)}</g>')
    return document(_WIDTH, _HEIGHT, parts, f"learning curves against {name}")


def _band(curve: Curve, x_scale: Scale, y_scale: Scale) -> list[str]:
    if curve.low is None or curve.high is None:
        return []
    clipped = [[min(max(y, y_scale.low), y_scale.high) for y in side] for side in (curve.low, curve.high)]
    there = [(x_scale(x), y_scale(y)) for x, y in zip(curve.x, clipped[0], strict=True)]
    back = [(x_scale(x), y_scale(y)) for x, y in zip(curve.x, clipped[1], strict=True)]
    return [area([*there, *reversed(back)], "band")]


def pareto_figure(methods: Sequence[Method], levels: Mapping[str, float]) -> str | None:
    """Return the figure of score against labels with the Pareto front; None if all methods used as many labels."""
    key = "expert_labels"
    known = [(index, cost, method) for index, method in enumerate(methods) if (cost := method.budget(key)) is not None]
    if len({cost for _, cost, _ in known}) < 2:
        return None
    x_scale, y_scale = _scales([cost for _, cost, _ in known], [method.mean for _, _, method in known], levels)
    parts = _axes(x_scale, y_scale, levels, "labels")
    best = front(methods, key)
    corners: list[tuple[float, float]] = []
    for method in best:
        x, y = x_scale(method.budget(key) or 0.0), y_scale(method.mean)
        corners += [*([(x, corners[-1][1])] if corners else []), (x, y)]
    parts.append(path([*corners, (_RIGHT, corners[-1][1])], "front"))
    for index, cost, method in known:
        x, y = x_scale(cost), y_scale(method.mean)
        inner = dot(x, y, 5, "end", f"{method.name}: {number(method.mean)} with {cost:,.0f} labels")
        if (interval := method.interval) is not None:
            low, high = (y_scale(min(max(end, y_scale.low), y_scale.high)) for end in interval)
            inner = line(x, low, x, high, "whisker") + inner
        parts.append(f'<g class="{colour(index)}">{inner}</g>')
    return document(_WIDTH, _HEIGHT, parts, "score against labels")


def scatter(xs: Sequence[float], ys: Sequence[float], name: str, levels: Mapping[str, float]) -> str:
    """Return a figure of points, such as a sweep's scores against one parameter."""
    x_scale, y_scale = _scales(xs, ys, levels)
    dots = [dot(x_scale(x), y_scale(y), 4, "end", f"{name} {x:g}: {number(y)}") for x, y in zip(xs, ys, strict=True)]
    return document(_WIDTH, _HEIGHT, [*_axes(x_scale, y_scale, levels, name), f'<g class="c0">{"".join(dots)}</g>'], name)


def _scales(xs: Sequence[float], ys: Sequence[float], levels: Mapping[str, float]) -> tuple[Scale, Scale]:
    heights = [*ys, *([levels["expert"]] if "expert" in levels else [])]
    return scale_of(xs, _LEFT + 6, _RIGHT - 8, may_log=True, pad=0.04), scale_of(heights, _BOTTOM, _TOP, pad=0.06)


def _axes(x_scale: Scale, y_scale: Scale, levels: Mapping[str, float], name: str) -> list[str]:
    """Return grid, ticks and names; at the right the normalised score, if expert and random policy are known."""
    parts = []
    for tick in y_scale.ticks():
        parts += [line(_LEFT, y_scale(tick), _RIGHT, y_scale(tick), "grid")]
        parts += [words(_LEFT - 6, y_scale(tick) + 4, tick_text(tick), anchor="end")]
    for tick in x_scale.ticks(4):
        parts += [line(x_scale(tick), _BOTTOM, x_scale(tick), _BOTTOM + 4, "tick")]
        parts += [words(x_scale(tick), _BOTTOM + 17, tick_text(tick), anchor="middle")]
    parts.append(line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"))
    parts.append(words((_LEFT + _RIGHT) / 2, _BOTTOM + 35, f"{name}{' (log scale)' if x_scale.log else ''}", "name", "middle"))
    span = levels["expert"] - levels["random"] if len(levels) == 2 else 0.0
    if span:
        right = Scale((y_scale.low - levels["random"]) / span, (y_scale.high - levels["random"]) / span, _BOTTOM, _TOP)
        for tick in right.ticks() if span > 0 else ():
            parts += [line(_RIGHT, right(tick), _RIGHT + 4, right(tick), "tick")]
            parts += [words(_RIGHT + 7, right(tick) + 4, tick_text(tick), "normalised")]
    for level, value in levels.items():
        if y_scale.low <= value <= y_scale.high:
            parts += [line(_LEFT, y_scale(value), _RIGHT, y_scale(value), level)]
            parts += [words(_LEFT + 3, y_scale(value) - 3, level, f"{level}-name")]
    return parts

"""The figures of a reward's page: two lines along an episode, a slice, cells of a grid, a bar for each state.

Legend: T steps of an episode, S states.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distil.compare.svg import Scale, document, line, path, scale_of, tick_text, words
from distil.compare.verdict import number
from distil.rewardpage.cells import States
from distil.rewardpage.slices import Slice
from distil.types import Array

HATCH = (
    '<svg width="0" height="0" class="defs"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><line class="hatching" x1="0" y1="0" x2="0" y2="6"/></pattern></defs></svg>'
)
STYLE = (
    "svg .hatched{fill:url(#hatch)}svg .hatching{stroke:var(--dim);stroke-width:1.2}svg .wall{fill:var(--fg)}"
    "svg .goal{fill:none;stroke:var(--k1);stroke-width:3}svg.defs{position:absolute}"
    "svg .edge{fill:none;stroke:var(--line)}svg rect{shape-rendering:crispEdges}"
)
_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))  # dark to light, also in grey
_MOST_POINTS = 250
_MOST_BARS = 300


def along(learned_T: Array, true_T: Array, label: str) -> str:
    """Return the two standardised rewards of an episode, as lines over its steps."""
    left, right, top, bottom = 34.0, 340.0, 8.0, 132.0
    at = np.unique(np.linspace(0, len(true_T) - 1, _MOST_POINTS).astype(np.int64))
    x_scale = Scale(0, max(len(true_T) - 1, 1), left, right)
    y_scale = scale_of([*learned_T[at], *true_T[at]], bottom, top)
    parts = []
    for tick in y_scale.ticks(4):
        parts += [line(left, y_scale(tick), right, y_scale(tick), "grid"), _left(left, y_scale(tick), tick)]
    parts += [words(x_scale(tick), bottom + 16, tick_text(tick), anchor="middle") for tick in x_scale.ticks(4)]
    parts += [line(left, bottom, right, bottom, "axis"), words((left + right) / 2, bottom + 32, "step", "name", "middle")]
    for values_T, kind in ((true_T, "c1"), (learned_T, "c0")):
        points = [(x_scale(float(i)), y_scale(float(values_T[i]))) for i in at]
        parts.append(f'<g class="{kind}">{path(points, "curve")}</g>')
    return document(360, 170, parts, label)


def heatmap(found: Slice) -> str:
    """Return a slice: coloured where data cover it, hatched elsewhere."""
    left, right, top, bottom = 50.0, 290.0, 20.0, 260.0
    x_scale, y_scale = (_cells(at, *ends) for at, ends in ((found.x_C, (left, right)), (found.y_R, (bottom, top))))
    low, high = _limits(found.rewards_RC[found.is_covered_RC])
    width, height = (right - left) / len(found.x_C), (bottom - top) / len(found.y_R)
    parts = []
    for row in range(len(found.y_R)):
        for column in range(len(found.x_C)):
            place = left + column * width, bottom - (row + 1) * height, width, height
            value = float(found.rewards_RC[row, column])
            parts.append(_cell(*place, value, low, high) if found.is_covered_RC[row, column] else _hatched(*place))
    for tick in x_scale.ticks(4):
        parts += [line(x_scale(tick), bottom, x_scale(tick), bottom + 4, "tick")]
        parts += [words(x_scale(tick), bottom + 17, tick_text(tick), anchor="middle")]
    parts += [_left(left, y_scale(tick), tick) for tick in y_scale.ticks(5)]
    parts.append(words((left + right) / 2, bottom + 35, found.names[0], "name", "middle"))
    parts.append(words(left, top - 7, found.names[1], "name", "middle"))
    return document(360, 302, [*parts, *_legend(310, top, bottom, low, high)], f"slice over {' and '.join(found.names)}")


def grid(found: States, values_S: Array, label: str) -> str:
    """Return the cells of a grid world by reward: walls filled, the goal framed, cells without data hatched."""
    left, top, side = 8.0, 8.0, 240.0 / found.num_columns
    bottom = top + side * (len(values_S) // found.num_columns)
    is_known = found.is_seen & ~found.is_wall
    low, high = _limits(values_S[is_known])
    parts = []
    for state in range(len(values_S)):
        row, column = divmod(state, found.num_columns)
        place = left + column * side, top + row * side, side, side
        if found.is_wall[state]:
            parts.append(_rect(*place, 'class="wall"'))
        else:
            parts.append(_cell(*place, float(values_S[state]), low, high) if is_known[state] else _hatched(*place))
    if found.goal is not None:
        row, column = divmod(found.goal, found.num_columns)
        parts.append(_rect(left + column * side + 1.5, top + row * side + 1.5, side - 3, side - 3, 'class="goal"'))
    parts.append(_rect(left, top, 240.0, bottom - top, 'class="edge"'))
    return document(330, bottom + 8, [*parts, *_legend(266, top, bottom, low, high)], label)


def bars(found: States, values_S: Array, label: str) -> str:
    """Return a bar for each state, from zero; hatched without data."""
    left, right, top, bottom = 50.0, 1080.0, 8.0, 168.0
    shown = values_S[:_MOST_BARS]
    y_scale = scale_of([*shown, 0.0], bottom, top)
    width = min((right - left) / len(shown), 40.0)
    parts = [_left(left, y_scale(tick), tick) for tick in y_scale.ticks(4)]
    for state, value in enumerate(shown.tolist()):
        ends = sorted((y_scale(value), y_scale(0.0)))
        place = left + state * width + 0.5, ends[0], width - 1, max(ends[1] - ends[0], 1.0)
        kind = 'class="c0" style="fill:var(--c)"' if found.is_seen[state] else 'class="hatched"'
        parts.append(_rect(*place, kind, f"state {state}: {number(value)}"))
    step = max(1, len(shown) // 20)
    numbered = range(0, len(shown), step)
    parts += [words(left + (state + 0.5) * width, bottom + 16, str(state), anchor="middle") for state in numbered]
    parts += [line(left, y_scale(0.0), right, y_scale(0.0), "axis"), words(left, bottom + 32, "state", "name")]
    return document(1100, 204, parts, label)


def _limits(values: Array) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _cells(centres: Array, start: float, end: float) -> Scale:
    half = float(centres[1] - centres[0]) / 2
    return Scale(float(centres[0]) - half, float(centres[-1]) + half, start, end)


def _left(x: float, y: float, tick: float) -> str:
    return words(x - 6, y + 4, tick_text(tick), anchor="end")


def _hatched(x: float, y: float, width: float, height: float) -> str:
    return _rect(x, y, width, height, 'class="hatched"')


def _cell(x: float, y: float, width: float, height: float, value: float, low: float, high: float) -> str:
    return _rect(x, y, width + 0.3, height + 0.3, f'fill="{_colour((value - low) / (high - low))}"', number(value))


def _rect(x: float, y: float, width: float, height: float, kind: str, hint: str = "") -> str:
    title = f"<title>{hint}</title>" if hint else ""
    return f'<rect {kind} x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">{title}</rect>'


def _colour(share: float) -> str:
    place = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
    first = min(int(place), len(_RAMP) - 2)
    mixed = [a + (b - a) * (place - first) for a, b in zip(_RAMP[first], _RAMP[first + 1], strict=True)]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _legend(x: float, top: float, bottom: float, low: float, high: float) -> Sequence[str]:
    """Return the colours' scale."""
    num, scale = 24, Scale(low, high, bottom, top)
    height = (bottom - top) / num
    parts = [_rect(x, bottom - (i + 1) * height, 12, height + 0.3, f'fill="{_colour((i + 0.5) / num)}"') for i in range(num)]
    return [*parts, *(words(x + 16, scale(tick) + 4, tick_text(tick)) for tick in scale.ticks(4))]

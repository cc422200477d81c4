"""Learning curves of methods: the mean over seeds of the tuning scores, with a band, against what the runs had spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distil.compare.methods import Method
from distil.compare.record import RunRecord
from distil.report import Curve
from distil.stats import mean_interval, pareto_front

_MAX_POINTS = 60
AXES = {"expert_labels": "labels", "env_steps": "environment steps", "gradient_steps": "gradient steps", "wall_s": "seconds"}


def curve_of(method: Method, key: str) -> Curve | None:
    """Return the learning curve of a method against a budget; None if fewer than two of its scores lie apart.

    The runs' curves are interpolated between their points, over the range that all of them cover.
    """
    lines = [line for run in method.runs if (line := _line(run, key)) is not None]
    if not lines:
        return None
    low, high = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if low >= high:
        return None
    grid = sorted({float(x) for xs, _ in lines for x in xs if low <= x <= high})
    if len(grid) > _MAX_POINTS:
        grid = [float(x) for x in np.linspace(low, high, _MAX_POINTS)]
    values = np.array([np.interp(grid, xs, ys) for xs, ys in lines])  # [runs, points]
    bands = [mean_interval(column) or (float(column[0]), float(column[0])) for column in values.T]
    several = len(lines) > 1
    return Curve(
        x=grid,
        y=values.mean(axis=0).tolist(),
        low=[band[0] for band in bands] if several else None,
        high=[band[1] for band in bands] if several else None,
    )


def _line(run: RunRecord, key: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return x and y of a run's tuning scores, x ascending and each once."""
    found = {point.budget[key]: point.score for point in run.points if not point.held_out and key in point.budget}
    xs = sorted(found)
    return (xs, [found[x] for x in xs]) if len(xs) > 1 else None


def front(methods: Sequence[Method], key: str) -> list[Method]:
    """Return the methods that no other one beats in both score and budget (the Pareto front), the cheapest first."""
    known = [(method, cost) for method in methods if (cost := method.budget(key)) is not None]
    return [known[index][0] for index in pareto_front([method.mean for method, _ in known], [cost for _, cost in known])]

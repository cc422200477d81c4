"""The losses of a run against its gradient steps: one axis for all of its updates, whose own steps start at 0 each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from distil.report import Curve, plot_curves

LOSSES = ("loss", "validation_loss")


class LossCurve:
    """The points of a run's losses. Mutable.

    Args:
        reported: metrics of the rounds that are finished; each of their updates contributes its last losses.
    """

    def __init__(self, reported: Iterable[Mapping[str, float]] = ()) -> None:
        self.num_steps = 0  # gradient steps of the finished updates
        self._points: dict[str, dict[int, float]] = {}  # name -> the run's gradient step -> value
        self._ends: list[int] = []
        for metrics in reported:
            self.finish_update(metrics)

    def add(self, step: int, figures: Mapping[str, float]) -> int:
        """Add losses of the running update at its own `step`; return the run's gradient step."""
        total = self.num_steps + step
        for name in figures.keys() & set(LOSSES):
            self._points.setdefault(name, {})[total] = figures[name]
        return total

    def finish_update(self, metrics: Mapping[str, float]) -> None:
        """Add what an update ended with; metrics of a round without an update change nothing."""
        steps = int(metrics.get("train/steps", 0))
        if steps:
            self.add(steps, {name: metrics[f"train/{name}"] for name in LOSSES if f"train/{name}" in metrics})
            self.num_steps += steps
            self._ends.append(self.num_steps)

    def plot(self, path: Path, title: str) -> Path | None:
        """Draw the curves, with a line where each update but the last ended; None, and no file, for fewer than two points."""
        lines = {name: sorted(self._points.get(name, {}).items()) for name in LOSSES}  # sorted: a restart goes back
        curves = {name: Curve(x=[x for x, _ in line], y=[y for _, y in line]) for name, line in lines.items() if len(line) > 1}
        if not curves:
            return None
        return plot_curves(
            curves, path, ylabel="loss", title=title, log_y=True, marks=self._ends[:-1], marks_name="end of a round"
        )

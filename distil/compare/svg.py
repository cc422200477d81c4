"""Small drawing functions for inline SVG: scales with round ticks, lines, areas, dots. The page's style gives them colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

MAX_COLOURS = 8
_MIN_LOG_RATIO = 20.0  # a wider range of positive values gets a logarithmic axis
_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from values to pixels."""

    low: float
    high: float
    start: float  # pixel of `low`
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, num: int = 5) -> list[float]:
        """Return round values inside the scale, about `num`."""
        if not self.log:
            return _round_steps(self.low, self.high, num)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1,), (1, 3), (1, 2, 5)):
            out = [d * 10.0**p for p in powers for d in digits if self.low <= d * 10.0**p <= self.high]
            if len(out) >= 3:
                break
        return out if len(out) >= 2 else _round_steps(self.low, self.high, num)


def scale_of(values: Iterable[float], start: float, end: float, *, may_log: bool = False, pad: float = 0.05) -> Scale:
    """Return a scale with room around finite values; logarithmic, if it may be, where they span a wide range above zero."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if may_log and low > 0 and high / low >= _MIN_LOG_RATIO:
        factor = (high / low) ** pad
        return Scale(low / factor, high * factor, start, end, log=True)
    room = (high - low) * pad or max(abs(high) * pad, 1e-6)
    return Scale(low - room, high + room, start, end)


def _round_steps(low: float, high: float, num: int) -> list[float]:
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Return a tick's number: `20k`, `-150`, `0.25`."""
    for size, suffix in _SUFFIXES:
        if abs(value) >= size and (size > 1e3 or abs(value) >= 1e4):
            return f"{value / size:g}{suffix}".replace("-", "\N{MINUS SIGN}")
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def document(width: float, height: float, parts: Iterable[str], label: str) -> str:
    """Return an SVG element that scales with the page; `label` is read to those who cannot see it."""
    body = "".join(parts)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label, quote=True)}">{body}</svg>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line of a class."""
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Return a line through points."""
    return f'<polyline class="{kind}" points="{_places(points)}"/>'


def area(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Return a filled polygon."""
    return f'<polygon class="{kind}" points="{_places(points)}"/>'


def dot(x: float, y: float, radius: float, kind: str, hint: str = "") -> str:
    """Return a circle; `hint` is shown when the pointer is on it."""
    title = f"<title>{escape(hint)}</title>" if hint else ""
    return f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{radius:g}">{title}</circle>'


def words(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """Return a text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def colour(index: int) -> str:
    """Return the class that gives the method with this number its colour; grey beyond the first ones."""
    return f"c{index}" if index < MAX_COLOURS else "rest"


def _places(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)

"""Tables in plain text, at most 80 columns wide, for the terminal and for logs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Row = Mapping[str, str | float | None]

_WIDTH = 80
_GAP = "  "
_LEAST = 20  # columns of the first column, before a table is divided


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured policy: a row of the table, a point of the plot. None: unknown or not applicable."""

    name: str  # "BC, 20 episodes"
    mean: float  # return
    low: float | None  # 95 % interval of the mean; None for one episode
    high: float | None
    normalised: float | None = None  # 0: random policy, 1: expert
    num_demonstrations: int | None = None
    num_transitions: int | None = None  # that an expert labelled
    num_own_steps: int | None = None  # without labels, that the policy took while it learned
    wall_s: float | None = None
    runs: Sequence[float] = ()  # means of several training runs; `mean` and the interval are over these then


def table(rows: Sequence[Row], title: str = "", *, numeric: Sequence[str] = (), width: int = _WIDTH) -> str:
    """Return a table as text, with the first row's keys as columns: text is aligned left, numbers right, None is a dash.

    A table that is too wide folds its first column between words. If that is not enough, the columns are divided into several
    tables, one below the other, and each repeats the first column.

    Args:
        rows: column -> cell.
        title: the line above.
        numeric: columns of text that are aligned right.
        width: characters of a line.
    """
    names = list(rows[0]) if rows else []
    columns = [_Column.of(name, rows, right=name in numeric) for name in names]
    blocks = ["\n".join(line.rstrip() for line in _lines(block)) + "\n" for block in _divide(columns, width)]
    return (f"{title}\n\n" if title else "") + "\n".join(blocks)


def score_table(scores: Sequence[Score], title: str = "") -> str:
    """Return the results table: return with its 95 % interval, normalised score, data, time; empty columns are left out."""
    rows: list[dict[str, str | float | None]] = [
        {
            "policy": score.name,
            "runs": len(score.runs) or None,
            "return": f"{score.mean:.1f}",
            "95 % interval": None if score.low is None else f"{score.low:.1f} to {score.high:.1f}",
            "worst": f"{min(score.runs):.1f}" if score.runs else None,
            "normalised": None if score.normalised is None else f"{score.normalised:.3f}",
            "labels": score.num_transitions,
            "own steps": score.num_own_steps,
            "seconds": None if score.wall_s is None else f"{score.wall_s:.1f}",
        }
        for score in scores
    ]
    empty = {name for name in (rows[0] if rows else ()) if all(row[name] is None for row in rows)}
    shown = [{k: v for k, v in row.items() if k not in empty} for row in rows]
    return table(shown, title, numeric=tuple(shown[0])[1:] if shown else ())


@dataclass(frozen=True)
class _Column:
    name: str
    cells: Sequence[str]
    right: bool
    width: int

    @classmethod
    def of(cls, name: str, rows: Sequence[Row], *, right: bool) -> _Column:
        values = [row.get(name) for row in rows]
        cells = [_cell(value) for value in values]
        numbers = all(not isinstance(value, str) for value in values)
        return cls(name, cells, right or numbers, max(map(len, (name, *cells))))

    def folded(self, width: int) -> _Column:
        return _Column(self.name, self.cells, self.right, min(width, self.width))

    def lines(self, cell: str) -> list[str]:
        """Return the lines of a cell, aligned."""
        lines = textwrap.wrap(cell, self.width) or [""]
        return [line.rjust(self.width) if self.right else line.ljust(self.width) for line in lines]


def _divide(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """Yield the columns of each table."""
    if not columns:
        return
    first, *rest = columns
    needed = sum(column.width + len(_GAP) for column in rest)
    if needed + min(first.width, _LEAST) <= width:
        yield [first.folded(width - needed), *rest]
        return
    first = first.folded(width // 2)
    block, room = [first], width - first.width
    for column in rest:
        if len(block) > 1 and column.width + len(_GAP) > room:
            yield block
            block, room = [first], width - first.width
        block.append(column)
        room -= column.width + len(_GAP)
    yield block


def _lines(columns: Sequence[_Column]) -> Iterator[str]:
    yield _GAP.join(column.name.rjust(column.width) if column.right else column.name.ljust(column.width) for column in columns)
    yield "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1))
    for index in range(len(columns[0].cells)):
        cells = [column.lines(column.cells[index]) for column in columns]
        for number in range(max(map(len, cells))):
            pairs = zip(cells, columns, strict=True)
            yield _GAP.join(cell[number] if number < len(cell) else " " * column.width for cell, column in pairs)


def _cell(value: str | float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10_000 else f"{value:.4g}"

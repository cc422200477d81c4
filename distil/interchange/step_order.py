"""The order of an episode's rows, by the column that counts or times its steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distil.interchange.columns import TableFile, runs, to_numpy
from distil.interchange.episodes import BadEpisodeError
from distil.types import Array

STEP_NAMES = (  # of what usually counts or times an episode's steps
    *("step", "steps", "timestep", "timesteps", "time_step", "step_index", "step_idx", "step_id", "env_step"),
    *("frame_index", "frame", "frame_id", "t", "timestamp", "timestamps", "time"),
)


def scattered(files: Sequence[Path | TableFile], key: str) -> tuple[set[Any], Any]:
    """Return the episodes whose rows aren't all together, and the first one that one file ends and the next begins with.

    Only the column `key` is read.
    """
    seen: set[Any] = set()
    again: set[Any] = set()
    before, spans = None, None
    for file in files:
        found = [rows.key for rows in runs([file], key, [])]
        if found and seen and found[0] == before:
            spans = before if spans is None else spans
            found = found[1:]
        for name in found:
            (again if name in seen else seen).add(name)
            before = name
    return again, spans


def goes_back(table: pa.Table, column: str) -> bool:
    """Return whether a column of numbers or times, which should count on, doesn't; False for anything else."""
    try:
        return bool(np.any(np.diff(StepOrder(column).values(table)) < 0))
    except BadEpisodeError:
        return False


def first_back(values: Array, starts: Array) -> int | None:
    """Return the first row [N] of which the value is below that of the row before it in its episode; None: there is none."""
    if values.size != len(values) or values.dtype.kind not in "iuf":
        return None
    back = np.concatenate([[False], np.diff(values.reshape(-1).astype(np.float64)) < 0])
    back[starts] = False
    return int(np.argmax(back)) if np.any(back) else None


class StepOrder:
    """Puts the rows of each episode in order. Whole numbers must count evenly, and begin alike in all episodes."""

    def __init__(self, column: str | None) -> None:
        """Order by `column`; None: rows stay in file order."""
        self._column = column
        self._begin: int | None = None  # of the first episode
        self._after: int | None = None  # what a counter over all episodes would say next

    def arrange(self, table: pa.Table) -> tuple[pa.Table, bool]:
        """Return an episode's rows in order, and whether they weren't.

        Raises:
            BadEpisodeError: the column has no value somewhere, says a step twice, or leaves one out.
        """
        if self._column is None:
            return table, False
        values = self.values(table)
        order = np.argsort(values, kind="stable")
        values, moved = values[order], bool(np.any(np.diff(order) < 0))
        steps = np.diff(values)
        if np.any(steps == 0):
            row = int(np.argmin(steps))
            raise BadEpisodeError(f"{self._column} {values[row]} is a duplicate; step=... names another column", step=row)
        if values.dtype.kind in "iu":
            self._check_count(values.astype(np.int64), steps)
        return (table.take(pa.array(order)) if moved else table), moved

    def values(self, table: pa.Table) -> Array:
        """Return the column [T] as numbers; BadEpisodeError where it isn't numbers or times."""
        assert self._column is not None
        if self._column not in table.column_names:
            raise BadEpisodeError(f"has no column {self._column!r}, which other files have")
        column, field = table[self._column], table.schema.field(self._column)
        if pa.types.is_temporal(field.type):
            unit = pa.int32() if field.type.bit_width == 32 else pa.int64()
            return to_numpy(column.cast(unit), field).astype(np.float64)
        values = to_numpy(column, field)
        if values.ndim != 1 or not np.all(np.isfinite(values)):
            raise BadEpisodeError(f"{self._column} isn't a number in each row; step=... names another column")
        whole = values.dtype.kind == "f" and bool(np.all(values == np.floor(values)))
        return values.astype(np.int64) if whole else values

    def _check_count(self, values: Array, steps: Array) -> None:
        begin, stride = int(values[0]), int(steps[0]) if len(steps) else 1
        expected, self._after = self._after, int(values[-1]) + stride
        if np.any(steps != stride):
            stride = int(np.min(steps))
            row = int(np.argmax(steps != stride))
            what = f"{self._column} goes from {values[row]} to {values[row + 1]}: rows are missing; step='' ignores it"
            raise BadEpisodeError(what, step=row + 1)
        if self._begin is None:
            self._begin = begin
        elif begin not in (self._begin, expected):
            what = f"begins with {self._column} {begin}, not {self._begin}: rows are missing; step='' ignores it"
            raise BadEpisodeError(what, step=0)

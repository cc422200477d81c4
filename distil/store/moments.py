"""Exact statistics of columns over any number of rows, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from distil.errors import InputError
from distil.types import Array

_BLOCK_ROWS, _BLOCK_BYTES = 1 << 16, 1 << 26


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Statistics of a column over all samples, each [*shape] float64."""

    mean: Array
    std: Array
    minimum: Array
    maximum: Array
    count: int


def block_rows(shapes: Iterable[tuple[int, ...]]) -> int:
    """Return how many rows of columns of these shapes a block has: 2^16, or as many as take 64 MiB in float64."""
    widest = max((int(np.prod(shape, dtype=np.int64)) for shape in shapes), default=1)
    return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (8 * widest)))


def moments_of(columns: Mapping[str, Array]) -> dict[str, Moments]:
    """Return the statistics of columns in memory, [R, ...] each; those without rows are left out.

    Raises:
        InputError: a value isn't finite.
    """
    out: dict[str, Moments] = {}
    for name, column in columns.items():
        out |= gather({name: block} for block in _blocks(column))
    return out


def gather(blocks: Iterable[Mapping[str, Array]]) -> dict[str, Moments]:
    """Return the statistics of columns that come in blocks of rows, [<= R, ...] each.

    Sums are combined as in Chan et al., 1979 (updating formulae, equation 2.1).

    Raises:
        InputError: a value isn't finite.
    """
    found: dict[str, Moments] = {}
    for block in blocks:
        for name, rows in block.items():
            if not len(rows):
                continue
            before = found[name].count if name in found else 0
            if not (np.isfinite(rows.min()) and np.isfinite(rows.max())):
                row = before + int(np.argmin(np.isfinite(rows).reshape(len(rows), -1).all(1)))
                raise InputError(f"{name} isn't finite in row {row} of the training data: remove that episode")
            found[name] = _combine(found[name], _moments(rows)) if before else _moments(rows)
    return found


def _blocks(column: Array) -> Iterator[Array]:
    size = block_rows([column.shape[1:]])
    return (column[i : i + size] for i in range(0, len(column), size))


def _moments(rows: Array) -> Moments:
    flat, shape = rows.reshape(len(rows), -1), rows.shape[1:]
    mean = flat.sum(0, dtype=np.float64) / len(flat)
    wide = flat - mean
    std = np.sqrt(np.square(wide, out=wide).sum(0) / len(flat))
    low, high = flat.min(0).astype(np.float64), flat.max(0).astype(np.float64)
    mean, std, low, high = (np.asarray(value).reshape(shape) for value in (mean, std, low, high))
    return Moments(mean=mean, std=std, minimum=low, maximum=high, count=len(rows))


def _combine(a: Moments, b: Moments) -> Moments:
    count = a.count + b.count
    delta = b.mean - a.mean
    variance = (a.count * a.std**2 + b.count * b.std**2) / count + delta**2 * (a.count / count) * (b.count / count)
    return Moments(
        mean=a.mean + delta * (b.count / count),
        std=np.sqrt(variance),
        minimum=np.minimum(a.minimum, b.minimum),
        maximum=np.maximum(a.maximum, b.maximum),
        count=count,
    )

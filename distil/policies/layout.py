"""How observations become one feature vector, and actions the head's numbers: plain data, shared by torch and numpy.

A box is flattened and standardised by the training data's statistics (an image inside an MLP is divided by 255), Discrete and
MultiDiscrete become one-hot, MultiBinary stays 0 or 1. Actions: a Box is mapped affinely to [-1, 1]; integers count from 0.

Legend: R rows, F features of the vector, A action dimension (or factor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distil.errors import InputError
from distil.spaces import Leaf
from distil.types import Array

_BLOCK_ROWS = 1 << 16
_WIDEST_BOUND = 1e6  # bounds beyond this are a formality, not a range to normalise by
_MARGIN = 1.05  # an unbounded action dimension gets the demonstrations' range and a little room, as tanh nears 1 slowly


@dataclass(frozen=True, kw_only=True)
class Part:
    """One leaf's place in the feature vector."""

    leaf: Leaf
    offset: int
    size: int
    factor: Array | None = None  # [size] one-hot leaves: which factor a feature looks at
    value: Array | None = None  # [size] and the value that it stands for


def layout(leaves: Sequence[Leaf]) -> tuple[Part, ...]:
    """Return each leaf's place in the feature vector, in order."""
    parts: list[Part] = []
    offset = 0
    for leaf in leaves:
        factor = value = None
        size = int(np.prod(leaf.shape, dtype=np.int64))
        if leaf.kind in ("discrete", "multi_discrete"):
            factor = np.repeat(np.arange(len(leaf.nvec)), leaf.nvec)
            value = np.concatenate([np.arange(n) for n in leaf.nvec]) + leaf.start
            size = len(value)
        parts.append(Part(leaf=leaf, offset=offset, size=size, factor=factor, value=value))
        offset += size
    return tuple(parts)


def num_features(parts: Sequence[Part]) -> int:
    """Return F."""
    return sum(part.size for part in parts)


def needs_statistics(part: Part) -> bool:
    """Return whether a leaf is standardised by data (a box that isn't an image)."""
    return part.leaf.kind == "box" and not part.leaf.is_image


def fixed_scaling(parts: Sequence[Part]) -> tuple[Array, Array]:
    """Return mean and inverse deviation [F] before any data: NaN where statistics are needed."""
    mean, inv_std = np.zeros(num_features(parts)), np.ones(num_features(parts))
    for part in parts:
        span = slice(part.offset, part.offset + part.size)
        if needs_statistics(part):
            mean[span] = inv_std[span] = np.nan
        elif part.leaf.is_image:
            inv_std[span] = 1 / 255
    return mean, inv_std


def observation_scaling(parts: Sequence[Part], columns: Mapping[str, Array], std_floor: float) -> tuple[Array, Array]:
    """Return mean and inverse standard deviation [F] over the training rows.

    A dimension whose deviation is below `std_floor` can't be told from a constant: it is centred and keeps its own unit, so
    that it gives 0 in training, and a value never seen before neither explodes nor vanishes for later rounds.

    Args:
        parts: the feature vector.
        columns: leaf name -> [R, ...].
        std_floor: in the observation's own unit.
    """
    mean, inv_std = fixed_scaling(parts)
    for part in filter(needs_statistics, parts):
        span = slice(part.offset, part.offset + part.size)
        mean[span], std = moments(_column(columns, part.leaf.name))
        inv_std[span] = 1 / np.where(std < std_floor, 1.0, std)
    return mean, inv_std


def moments(column: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation [D] of a column [R, ...], in float64, a block of rows at a time."""
    rows = column.reshape(len(column), -1)
    blocks = [rows[i : i + _BLOCK_ROWS] for i in range(0, len(rows), _BLOCK_ROWS)]
    mean = sum(block.sum(0, dtype=np.float64) for block in blocks) / len(rows)
    variance = sum(np.square(block - mean).sum(0) for block in blocks) / len(rows)
    return np.asarray(mean), np.sqrt(variance)


def bounded(action: Leaf) -> Array:
    """Return which of a box's dimensions [A] have bounds to normalise by."""
    low, high = action.bounds()
    return np.ravel(np.maximum(abs(low), abs(high)) < _WIDEST_BOUND)


def action_scaling(action: Leaf, columns: Mapping[str, Array] | None) -> tuple[Array, Array]:
    """Return centre and half width [A] of a box action: its bounds; where it has none, the labels' range widened by 5 %.

    Without `columns` the dimensions that need data are NaN.
    """
    low, high = (bound.reshape(-1).copy() for bound in action.bounds())
    free = ~bounded(action)
    if free.any():
        if columns is None:
            low[free] = high[free] = np.nan
        else:
            labels = _column(columns, action.name)
            labels = labels.reshape(len(labels), -1)
            low[free], high[free] = labels.min(0)[free], labels.max(0)[free]
    half = (high - low) / 2 * np.where(free, _MARGIN, 1.0)
    return (low + high) / 2, np.where(half == 0, 1.0, half)


def _column(columns: Mapping[str, Array], name: str) -> Array:
    if name not in columns or not len(columns[name]):
        raise InputError(
            f"the statistics of {name} need training data: it has no rows of that column; give at least one episode"
        )
    if not np.isfinite(columns[name]).all():
        row = int(np.argmin(np.isfinite(columns[name]).reshape(len(columns[name]), -1).all(1)))
        raise InputError(f"{name} isn't finite in row {row} of the training data: remove that episode")
    return columns[name]

"""How observations become one feature vector, and actions the head's numbers: plain data, shared by torch and numpy.

A box is flattened and standardised by the training data's statistics (an image inside an MLP is divided by 255), Discrete and
MultiDiscrete become one-hot, MultiBinary stays 0 or 1. Actions: a Box is mapped affinely to [-1, 1]; integers count from 0.

Legend: R rows, F features of the vector, A action dimension (or factor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distil.spaces import Leaf
from distil.types import Array

if TYPE_CHECKING:
    from distil.store.moments import Moments

_WIDEST_BOUND = 1e6  # bounds beyond this are a formality, not a range to normalise by
_FAR = 5.0  # root mean square of a dimension whose data are out of the range of old statistics, where it is 1
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


def observation_scaling(
    parts: Sequence[Part], statistics: Mapping[str, Moments], std_floor: float
) -> tuple[Array, Array, list[str]]:
    """Return mean and inverse standard deviation [F] over the training rows, and the names of constant dimensions.

    A leaf's unit is the largest magnitude of its values where that is below 1, otherwise 1. A dimension whose deviation is
    below `std_floor` units can't be told from a constant: it is centred and divided by the unit, so that it gives 0 in
    training, and a value never seen before neither explodes nor vanishes for later rounds.

    Args:
        parts: the feature vector.
        statistics: leaf name -> statistics.
        std_floor: in units.
    """
    mean, inv_std = fixed_scaling(parts)
    constant: list[str] = []
    for part in filter(needs_statistics, parts):
        span, found = slice(part.offset, part.offset + part.size), statistics[part.leaf.name]
        magnitude = float(np.maximum(abs(found.minimum), abs(found.maximum)).max())
        unit = min(1.0, magnitude) or 1.0
        mean[span], std = found.mean.reshape(-1), found.std.reshape(-1)
        is_constant = std < std_floor * unit
        inv_std[span] = 1 / np.where(is_constant, unit, std)
        constant += [f"{part.leaf.name}[{i}]" for i in np.flatnonzero(is_constant)]
    return mean, inv_std, constant


def has_left(parts: Sequence[Part], mean: Array, inv_std: Array, statistics: Mapping[str, Moments]) -> bool:
    """Return whether data have left the range that statistics were fitted on: in at least half of the dimensions that vary.

    They have left it in a dimension whose root mean square is above 5, in units of the old statistics. A few dimensions are no
    reason: in HalfCheetah, falls widen the torso's angle ninefold, and the other dimensions stay as they were.

    Args:
        parts: the feature vector.
        mean: [F] of the old statistics.
        inv_std: [F] of the old statistics.
        statistics: leaf name -> statistics of the data.
    """
    far: list[Array] = []
    for part in filter(needs_statistics, parts):
        span, found = slice(part.offset, part.offset + part.size), statistics[part.leaf.name]
        std = found.std.reshape(-1)
        rms = np.hypot(found.mean.reshape(-1) - mean[span], std) * inv_std[span]
        far.append(rms[std > 0] > _FAR)
    flags = np.concatenate(far) if far else np.zeros(0)
    return bool(len(flags)) and float(flags.mean()) >= 0.5


def bounded(action: Leaf) -> Array:
    """Return which of a box's dimensions [A] have bounds to normalise by."""
    low, high = action.bounds()
    return np.ravel(np.maximum(abs(low), abs(high)) < _WIDEST_BOUND)


def action_scaling(action: Leaf, labels: Moments | None) -> tuple[Array, Array]:
    """Return centre and half width [A] of a box action: its bounds; where it has none, the labels' range widened by 5 %.

    Without `labels` the dimensions that need data are NaN.
    """
    low, high = (bound.reshape(-1).copy() for bound in action.bounds())
    free = ~bounded(action)
    if free.any():
        low[free] = np.nan if labels is None else labels.minimum.reshape(-1)[free]
        high[free] = np.nan if labels is None else labels.maximum.reshape(-1)[free]
    half = (high - low) / 2 * np.where(free, _MARGIN, 1.0)
    return (low + high) / 2, np.where(half == 0, 1.0, half)


def widened(action: Leaf, centre: Array, half: Array, labels: Moments) -> tuple[Array, Array] | None:
    """Return the scaling of `action_scaling`, widened where labels lie outside of it; None if none do.

    It covers the range that it covered before, too. Only dimensions without bounds are widened: no label leaves the others'.
    """
    low, high = labels.minimum.reshape(-1), labels.maximum.reshape(-1)
    out = ~bounded(action) & ((low < centre - half) | (high > centre + half))
    if not out.any():
        return None
    low, high = np.minimum(low, centre - half / _MARGIN), np.maximum(high, centre + half / _MARGIN)
    return np.where(out, (low + high) / 2, centre), np.where(out, (high - low) / 2 * _MARGIN, half)


def carried_over(old: tuple[Array, Array], new: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return slope and shift [A] of tanh's argument that nearly keep actions the same under a wider scaling.

    No affine change of tanh's argument keeps all of them. Those halfway between the old centre and the old ends stay, and so
    nearly do those between; actions near the old ends move outwards.

    Args:
        old: centre and half width [A].
        new: those of `widened`.
    """
    high, low = (np.arctanh((old[0] + side * old[1] - new[0]) / new[1]) for side in (0.5, -0.5))
    return (high - low) / (2 * np.arctanh(0.5)), (high + low) / 2

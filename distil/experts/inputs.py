"""How foreign policies see observations: leaves flattened into one vector, choices one-hot, numbers normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distil.spaces import Leaf
from distil.types import Array


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Frozen observation statistics: x -> clip((x - mean) / scale, -clip, clip)."""

    mean: Mapping[str, Array]  # leaf name -> [...] float64
    scale: Mapping[str, Array]  # leaf name -> [...] float64
    clip: float

    def apply(self, leaf: str, values: Array) -> Array:
        """Return the normalised values [N, ...] of a leaf; a leaf without statistics is returned unchanged."""
        if leaf not in self.mean:
            return values
        out: Array = np.subtract(values, self.mean[leaf], dtype=np.float64)
        out /= self.scale[leaf]
        return np.clip(out, -self.clip, self.clip, out=out)


def width(leaf: Leaf) -> int:
    """Return the number of network inputs that an observation leaf needs."""
    return sum(leaf.nvec) if leaf.kind in ("discrete", "multi_discrete") else int(np.prod(leaf.shape))


def encode(leaf: Leaf, values: Array, inputs_NI: Array, column: int, statistics: Statistics | None) -> int:
    """Write a leaf's values [N, ...] into the network's inputs from `column`; return the next free column."""
    if leaf.kind in ("discrete", "multi_discrete"):
        end = column + width(leaf)
        inputs_NI[:, column:end] = 0
        offsets = np.cumsum((0, *leaf.nvec[:-1])) + column
        np.put_along_axis(inputs_NI, values.reshape(len(values), -1) + offsets, 1, axis=1)
        return end
    if statistics is not None:
        values = statistics.apply(leaf.name, values)
    flat = values.reshape(len(values), -1)
    inputs_NI[:, column : column + flat.shape[1]] = flat
    return column + flat.shape[1]

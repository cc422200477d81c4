"""How far two actions are apart.

In half action ranges: 0 where they are equal, 2 between the two ends of a bounded space. Where actions are choices, it is the
share of choices that differ.

Legend: N rows, A action dimension.
"""

from __future__ import annotations

import numpy as np

from distil.spaces import Leaf
from distil.types import Array

MAX_DISCREPANCY = 2.0  # of a bounded action space


class Discrepancy:
    """Distance between actions.

    Args:
        action: the action space.
    """

    def __init__(self, action: Leaf) -> None:
        self._scale: Array | None = None
        if action.kind == "box":
            low, high = action.bounds()
            half = (high - low) / 2
            self._scale = np.where(np.isfinite(half) & (half > 0), half, 1.0)

    def __call__(self, first: Array, second: Array) -> Array:
        """Return [N], the mean over A of the distances between actions [N, ...]."""
        if self._scale is None:
            apart = (first != second).astype(np.float64)
        else:
            apart = np.abs(first.astype(np.float64) - second.astype(np.float64)) / self._scale
        out: Array = apart.reshape(len(first), -1).mean(axis=1)
        return out

"""Head actions back to the environment's, in numpy: scale, bounds, dtype, Discrete's start (no torch)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distil.spaces import Leaf
from distil.types import Array


class Decoder:
    """Head actions [..., A] -> environment actions [..., *shape], in the environment's dtype and bounds.

    Args:
        leaf: the action's leaf.
        arrays: a policy's arrays; a box needs `actions.centre` and `actions.half_width`.
    """

    def __init__(self, leaf: Leaf, arrays: Mapping[str, Array]) -> None:
        self._leaf = leaf
        self._dtype = np.dtype(leaf.dtype)
        self._scaled = False
        if leaf.kind == "box":
            self._centre, self._half = arrays["actions.centre"], arrays["actions.half_width"]
            self._scaled = bool(np.any(self._centre != 0) or np.any(self._half != 1))
            low, high = (bound.reshape(-1) for bound in leaf.bounds())
            self._low, self._high = low.astype(self._dtype), high.astype(self._dtype)

    def __call__(self, actions: Array) -> Array:
        """Return a new array in the environment's action space."""
        leaf = self._leaf
        if leaf.kind == "box":
            if self._scaled:
                actions = actions * self._half + self._centre
            if self._dtype.kind != "f":
                actions = np.rint(actions)
            out: Array = np.minimum(np.maximum(actions, self._low), self._high).astype(self._dtype, copy=False)
        else:
            out = actions.astype(self._dtype, copy=False)
            if leaf.start:
                out = out + leaf.start
        shape = actions.shape[:-1] + leaf.shape
        return out if out.shape == shape else out.reshape(shape)

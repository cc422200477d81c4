"""Actions relative to an observation: positions, say, as seen from where the robot is (no torch).

A whole chunk is relative to the newest observation that it is planned from (Chi et al., 2024, "Universal Manipulation
Interface", arXiv:2402.10329, whose actions are such relative trajectories).

Legend: N environments, B batch, H observation horizon, R labels, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distil.types import Array, Batch


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The numbers of an observation that are subtracted from actions."""

    leaf: str
    start: int
    stop: int

    def of(self, newest: Any) -> Any:
        """Return them, [N, A], of one observation of the leaf a row, [N, ...]; numpy's or torch's."""
        return newest.reshape(len(newest), -1)[:, self.start : self.stop]

    def of_windows(self, observations: Mapping[str, Any]) -> Any:
        """Return them, [B, A], of windows, leaf name -> [B, H, ...]."""
        return self.of(observations[self.leaf][:, -1])

    def relative(self, batch: Batch) -> Array:
        """Return the relative labels of a batch of numpy arrays, [R, A] float64: without its pads."""
        num, chunk = batch.is_pad.shape
        labels_BTA = batch.actions.reshape(num, chunk, -1).astype(np.float64)
        moved: Array = (labels_BTA - self.of_windows(batch.observations)[:, None])[~batch.is_pad]
        return moved

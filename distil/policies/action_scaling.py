"""Environment actions to head actions and back, in torch; `distil.policies.actions` is the way back in numpy.

Legend: B batch, T action chunk, A action dimension (or factor).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from distil.policies.layout import action_scaling, bounded, carried_over, widened
from distil.policies.relative import Origin
from distil.spaces import Leaf
from distil.store.moments import Moments
from distil.types import Array


class Actions(nn.Module):
    """Environment actions <-> head actions. The scaling of a box is a frozen buffer."""

    centre: Tensor
    half_width: Tensor

    def __init__(self, leaf: Leaf, origin: Origin | None = None) -> None:
        super().__init__()
        self.leaf, self.origin = leaf, origin
        self._scaled = leaf if origin is None else replace(leaf, low=(-math.inf,), high=(math.inf,))  # what the head sees
        self._box = leaf.kind == "box"
        self._identity = False
        if self._box:
            centre, half = action_scaling(self._scaled, None)
            self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
            self.register_buffer("half_width", torch.tensor(half, dtype=torch.float32))
            low, high = (torch.tensor(bound.reshape(-1), dtype=torch.float32) for bound in leaf.bounds())
            self.register_buffer("_low", low, persistent=False)
            self.register_buffer("_high", high, persistent=False)

    @property
    def is_open(self) -> bool:
        """Whether a dimension has no bounds, so that labels give its scaling; relative to an observation, none has."""
        return self._box and not bool(bounded(self._scaled).all())

    def fit(self, labels: Moments | None) -> None:
        """Set the scaling from the training labels where the space has no bounds."""
        if self._box:
            self._set(*action_scaling(self._scaled, labels))

    def widen(self, labels: Moments) -> tuple[Array, Array] | None:
        """Widen the scaling if labels lie outside of it; return the `carried_over` of tanh's argument then."""
        old = self.centre.double().cpu().numpy(), self.half_width.double().cpu().numpy()
        new = widened(self._scaled, *old, labels)
        if new is None:
            return None
        self._set(*new)
        return carried_over(old, new)

    def _set(self, centre: Array, half: Array) -> None:
        self.centre.copy_(torch.from_numpy(centre))
        self.half_width.copy_(torch.from_numpy(half))

    def refresh(self) -> None:
        """Look at the scaling after it changed: an identity costs nothing in `encode`."""
        self._identity = self._box and not bool(self.centre.any()) and bool((self.half_width == 1).all())

    def encode(self, actions_BT: Tensor, observations: Mapping[str, Tensor]) -> Tensor:
        """Return head actions [B, T, A] of environment actions [B, T, ...] and the windows that they are for."""
        flat_BTA = actions_BT.reshape(*actions_BT.shape[:2], -1)
        if self._box:
            if self.origin is not None:  # first: large positions would leave the precision of float32 to their difference
                flat_BTA = flat_BTA - self.origin.of_windows(observations)[:, None]
            return flat_BTA.float() if self._identity else (flat_BTA.float() - self.centre) / self.half_width
        return flat_BTA.long() - self.leaf.start

    def decode(self, actions_BTA: Tensor, observations: Mapping[str, Tensor]) -> Tensor:
        """Return environment actions [B, T, ...] inside their bounds; boxes keep the head's float dtype."""
        if self._box:
            flat = actions_BTA * self.half_width + self.centre
            if self.origin is not None:
                flat = flat + self.origin.of_windows(observations)[:, None]
            flat = torch.minimum(torch.maximum(flat, self.get_buffer("_low")), self.get_buffer("_high"))
        else:
            flat = actions_BTA + self.leaf.start
        return flat.reshape(*flat.shape[:2], *self.leaf.shape)

"""Environment actions to head actions and back, in torch; `distil.policies.actions` is the way back in numpy.

Legend: B batch, T action chunk, A action dimension (or factor).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distil.policies.layout import action_scaling, bounded, carried_over, widened
from distil.spaces import Leaf
from distil.store.moments import Moments
from distil.types import Array


class Actions(nn.Module):
    """Environment actions <-> head actions. The scaling of a box is a frozen buffer."""

    centre: Tensor
    half_width: Tensor

    def __init__(self, leaf: Leaf) -> None:
        super().__init__()
        self.leaf = leaf
        self._box = leaf.kind == "box"
        self._identity = False
        if self._box:
            centre, half = action_scaling(leaf, None)
            self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
            self.register_buffer("half_width", torch.tensor(half, dtype=torch.float32))
            low, high = (torch.tensor(bound.reshape(-1), dtype=torch.float32) for bound in leaf.bounds())
            self.register_buffer("_low", low, persistent=False)
            self.register_buffer("_high", high, persistent=False)

    @property
    def is_open(self) -> bool:
        """Whether a dimension has no bounds, so that labels give its scaling."""
        return self._box and not bool(bounded(self.leaf).all())

    def fit(self, labels: Moments | None) -> None:
        """Set the scaling from the training labels where the space has no bounds."""
        if self._box:
            self._set(*action_scaling(self.leaf, labels))

    def widen(self, labels: Moments) -> tuple[Array, Array] | None:
        """Widen the scaling if labels lie outside of it; return the `carried_over` of tanh's argument then."""
        old = self.centre.double().cpu().numpy(), self.half_width.double().cpu().numpy()
        new = widened(self.leaf, *old, labels)
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

    def encode(self, actions_BT: Tensor) -> Tensor:
        """Return head actions [B, T, A] of environment actions [B, T, ...]."""
        flat_BTA = actions_BT.reshape(*actions_BT.shape[:2], -1)
        if self._box:
            return flat_BTA.float() if self._identity else (flat_BTA.float() - self.centre) / self.half_width
        return flat_BTA.long() - self.leaf.start

    def decode(self, actions_BTA: Tensor) -> Tensor:
        """Return environment actions [B, T, ...] inside their bounds; boxes keep the head's float dtype."""
        if self._box:
            flat = actions_BTA * self.half_width + self.centre
            flat = torch.minimum(torch.maximum(flat, self.get_buffer("_low")), self.get_buffer("_high"))
        else:
            flat = actions_BTA + self.leaf.start
        return flat.reshape(*flat.shape[:2], *self.leaf.shape)

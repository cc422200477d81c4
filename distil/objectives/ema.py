"""An exponential moving average of weights (Polyak and Juditsky, 1992) with a warm-up of the decay.

`torch.optim.swa_utils.AveragedModel` is not used: its first update copies the weights instead of averaging them, which gives
other policies, and an update takes four times as long, since it copies the policy's buffers and groups its tensors each time.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Average:
    """The averaged copy of named weights. `num_updates` is part of its state, since the decay depends on it."""

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        """Start at a copy of `weights`; `decay` is the limit of the decay, in (0, 1)."""
        self._decay = decay
        self._weights = {name: value.detach().clone() for name, value in weights.items()}
        self.num_updates = 0

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The averages by name."""
        return self._weights

    def decay(self) -> float:
        """Return the decay of the next update, min(decay, (1 + n) / (10 + n)), so that early weights are forgotten soon."""
        return min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take one step towards `weights`: average = decay * average + (1 - decay) * weights."""
        torch._foreach_lerp_(list(self._weights.values()), [weights[name] for name in self._weights], 1 - self.decay())
        self.num_updates += 1

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], num_updates: int) -> None:
        """Load saved averages and their counter."""
        for name, value in self._weights.items():
            value.copy_(tensors[name])
        self.num_updates = num_updates

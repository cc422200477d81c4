"""Notices a discriminator that is always right: then its reward hardly tells a better policy from a worse one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_RATE, _LIMIT = 1e-3, 0.99


class Saturation(nn.Module):
    """The moving average of a discriminator's accuracy, over about a thousand steps; it is in checkpoints."""

    accuracy: Tensor
    is_noted: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("accuracy", torch.tensor(0.5))
        self.register_buffer("is_noted", torch.tensor(False))

    @torch.no_grad()
    def see(self, expert_B: Tensor, agent_B: Tensor) -> Tensor:
        """Return the accuracy on logits of the expert's and of the learner's steps, counted equally; move the average."""
        accuracy = 0.5 * ((expert_B > 0).float().mean() + (agent_B < 0).float().mean())
        self.accuracy.lerp_(accuracy, _RATE)
        return accuracy

    def notes(self) -> Sequence[str]:
        """Return a warning with the accuracy, once a run."""
        if bool(self.is_noted) or float(self.accuracy) < _LIMIT:
            return []
        self.is_noted.fill_(True)
        return [
            f"the discriminator is saturated: it was right on {float(self.accuracy):.1%} of the steps of the last thousand "
            "batches, so its reward hardly tells a better policy from a worse one; raise algorithm.reward.gradient_penalty or "
            "dropout, or lower algorithm.reward.rate"
        ]

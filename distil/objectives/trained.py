"""A network with its optimiser: what an objective of several losses steps one after another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distil.objectives.adamw import AdamW
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks


class Trained:
    """Weights that one loss trains, with AdamW.

    The gradients of all ranks are averaged as one flat tensor, without DistributedDataParallel, which allows no second
    derivatives and wants one backward pass a step.

    Args:
        weights: by name; stepped in place.
        optimiser: decay and clipping.
        ranks: the group.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], optimiser: OptimiserConfig, ranks: Ranks) -> None:
        self.weights = dict(weights)
        self._list, self._ranks = list(self.weights.values()), ranks
        self._adamw = AdamW(self.weights, weight_decay=optimiser.weight_decay, max_norm=optimiser.grad_clip)
        self.num_steps = 0  # taken; the optimiser's own count is on the device

    def minimise(self, loss: Tensor, learning_rate: float) -> None:
        """Take one step down the gradient of `loss`, which is a mean over this rank's rows."""
        gradients = torch.autograd.grad(loss, self._list)
        self._ranks.mean_(gradients)
        for weight, gradient in zip(self._list, gradients, strict=True):
            weight.grad = gradient
        self._adamw.step(learning_rate)
        self._adamw.zero_grad()
        self.num_steps += 1

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimiser's state by flat name; it shares memory."""
        return self._adamw.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` returned."""
        self._adamw.load(tensors)
        self.num_steps = int(tensors["step"])


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, rate: float) -> None:
    """Move the weights of `target` towards those of `online` (Polyak averaging), and copy its statistics."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), rate)
    if statistics := list(target.buffers()):
        torch._foreach_copy_(statistics, list(online.buffers()))

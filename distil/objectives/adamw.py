"""AdamW (Loshchilov and Hutter, 2019, algorithm 2) with clipping of the gradient's norm, as one fused kernel.

The same update as `torch.optim.AdamW(fused=True)` after `clip_grad_norm_`. Those are not used because of their cost: separate
passes over the gradients, and bookkeeping around the kernel at each step. For a 2x256 network at batch size 256, they take 2.3
times as long as this class, and a whole training step runs at 0.77 of its speed. With the kernel dividing the gradient
(`optimizer.grad_scale`), which saves a pass, it is 0.81. Both are below 0.93 of a bare loop (`benchmarks/learner.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


class AdamW:
    """AdamW on named float32 weights, all on one device."""

    def __init__(self, weights: Mapping[str, nn.Parameter], *, weight_decay: float, max_norm: float | None) -> None:
        """Start with zero moments.

        Args:
            weights: what to step, in place.
            weight_decay: decoupled, times the learning rate.
            max_norm: of the whole gradient; larger ones are scaled down to it. None: no clipping.
        """
        self._names, self._weights = list(weights), list[Tensor](weights.values())
        self._weight_decay, self._max_norm = weight_decay, max_norm
        self._first = [torch.zeros_like(weight) for weight in self._weights]
        self._second = [torch.zeros_like(weight) for weight in self._weights]
        self._step = torch.zeros((), device=self._weights[0].device)  # float32, as the kernel wants it
        self._steps = [self._step] * len(self._weights)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> Tensor | None:
        """Step the weights; return the gradient's norm before clipping, or None without clipping.

        The gradients are scaled in place.
        """
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        assert len(gradients) == len(self._weights), "every weight takes part in the loss"
        norm = scale = None
        if self._max_norm is not None:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            scale = (norm / self._max_norm).clamp_(min=1.0)
        self._step += 1
        torch._fused_adamw_(
            self._weights,
            gradients,
            self._first,
            self._second,
            [],
            self._steps,
            lr=learning_rate,
            beta1=_BETA1,
            beta2=_BETA2,
            weight_decay=self._weight_decay,
            eps=_EPS,
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
        )
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments and the step count by flat name; they share memory with the optimiser's."""
        first = {f"first.{name}": value for name, value in zip(self._names, self._first, strict=True)}
        second = {f"second.{name}": value for name, value in zip(self._names, self._second, strict=True)}
        return first | second | {"step": self._step}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` returned."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

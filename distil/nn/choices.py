"""Choices by uniform noise.

Legend: N options; any dimensions before.
"""

from __future__ import annotations

from torch import Tensor


def drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return the options whose cumulative probability passes the noise, [...] int64.

    Args:
        logits: [..., N] unnormalised log probabilities; -inf for an option that is none.
        uniform: [...] in [0, 1).
    """
    below = logits.softmax(-1).cumsum(-1)
    return (below <= uniform[..., None] * below[..., -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)

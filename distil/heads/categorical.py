"""The categorical head: an independent choice for each factor of a Discrete, MultiDiscrete or MultiBinary action.

Legend: B batch, T action chunk, A factor, N choices of the largest factor, D context feature, K noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distil.heads.base import Context, DensityHead, HeadLoss
from distil.nn.choices import drawn
from distil.nn.losses import categorical_log_prob
from distil.nn.mlp import linear
from distil.spaces import Leaf


class CategoricalHead(DensityHead):
    """A probability for every choice of every factor, independent over steps and factors given the context.

    Factors of unequal size share one [A, N] table of logits whose missing choices are -inf.
    """

    noise_kind = "uniform"
    _missing: Tensor

    def __init__(self, action: Leaf, context_dim: int, chunk: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = torch.tensor(action.nvec)
        self._shape = (chunk, len(action.nvec), max(action.nvec))
        self.noise_size = chunk * len(action.nvec)
        self.linear = linear(context_dim, chunk * self._shape[1] * self._shape[2], generator)
        self._ragged = len(set(action.nvec)) > 1
        self.register_buffer("_missing", torch.arange(self._shape[2]) >= sizes[:, None], persistent=False)

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the negative log-likelihood in nats, summed over the factors: [B, T]."""
        return HeadLoss(loss_BT=-self.log_prob(context, actions_BTA))

    def log_prob(self, context: Context, actions_BTA: Tensor) -> Tensor:
        """Return the log probability of the choices (int64, from 0 on), summed over the factors: [B, T]."""
        return categorical_log_prob(self.logits(context), actions_BTA)

    def entropy(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return the sum of the factors' entropies, [B, T]."""
        log_p_BTAN = self.logits(context).log_softmax(-1)
        return -(log_p_BTAN.exp() * log_p_BTAN.clamp(min=-1e9)).sum((-1, -2))

    def point(self, context: Context) -> Tensor:
        """Return the likeliest choice of each factor, [B, T, A] int64."""
        return self.logits(context).argmax(-1)

    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return the choices whose cumulative probability passes the uniform noise, [B, T, A] int64."""
        return drawn(self.logits(context), noise_BK.view(-1, *self._shape[:2]))

    def logits(self, context: Context) -> Tensor:
        """Return the unnormalised log probabilities [B, T, A, N]; -inf for choices that a factor lacks."""
        logits_BTAN: Tensor = self.linear(context.pooled_BD).float().view(-1, *self._shape)
        return logits_BTAN.masked_fill(self._missing, -torch.inf) if self._ragged else logits_BTAN

"""A transformer over the steps of a chunk, which look at the context: a `ChunkNetwork`.

Each step of the chunk is a token. The tokens attend to each other, and to the context's tokens and one of the times, as in Chi
et al., 2023, "Diffusion Policy", arXiv:2303.04137, section III-A, and in the decoder of Zhao et al., 2023, arXiv:2304.13705,
figure 4.

Legend: B batch, T action chunk, I numbers of a step in, O numbers of a step out, S scalars, L tokens of the context,
 D context feature, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distil.nn.chunks import ChunkNetwork, ChunkSizes
from distil.nn.mlp import linear
from distil.nn.time_features import TIME_FEATURES
from distil.nn.transformer import Attention, feed_forward, places


class _Block(nn.Module):
    """Attention to all steps, attention to the context, and a feed-forward network; each is added to its input."""

    def __init__(self, width: int, num_heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, num_heads, generator)
        self.look_norm, self.look = nn.LayerNorm(width), Attention(width, num_heads, generator)
        self.feed_forward = feed_forward(width, "silu", generator)

    def forward(self, x_BTW: Tensor, context_BLW: Tensor) -> Tensor:
        """Return the tokens of the steps."""
        normed_BTW = self.norm(x_BTW)
        x_BTW = x_BTW + self.attention(normed_BTW, normed_BTW)
        x_BTW = x_BTW + self.look(self.look_norm(x_BTW), context_BLW)
        out: Tensor = x_BTW + self.feed_forward(x_BTW)
        return out


class ChunkTransformer(ChunkNetwork):
    """Where a context has no tokens, it is one token itself."""

    def __init__(
        self,
        sizes: ChunkSizes,
        generator: torch.Generator,
        *,
        width: int,
        num_layers: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        self.embed, self.places = linear(sizes.num_in, width, generator), places(sizes.chunk, width, generator)
        self.context, self.context_norm = linear(sizes.context_dim, width, generator), nn.LayerNorm(width)
        self.time: nn.Module | None = None
        if sizes.num_scalars:
            layers = linear(sizes.num_scalars * TIME_FEATURES, width, generator), nn.SiLU(), linear(width, width, generator)
            self.time = nn.Sequential(*layers)
        self.blocks = nn.ModuleList(_Block(width, num_heads, generator) for _ in range(num_layers))
        self.norm, self.out = nn.LayerNorm(width), linear(width, sizes.num_out, generator)

    def forward(self, x_BTI: Tensor, scalars_BS: Tensor, pooled_BD: Tensor, tokens_BLD: Tensor | None = None) -> Tensor:
        """Return a chunk [B, T, O]."""
        context_BLW = self.context(pooled_BD[:, None] if tokens_BLD is None else tokens_BLD)
        if self.time is not None:
            context_BLW = torch.cat([self.time(self.times(scalars_BS))[:, None], context_BLW], 1)
        context_BLW = self.context_norm(context_BLW)
        x_BTW = self.embed(x_BTI) + self.places
        for block in self.blocks:
            x_BTW = block(x_BTW, context_BLW)
        out: Tensor = self.out(self.norm(x_BTW))
        return out

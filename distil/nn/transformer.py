"""Attention blocks with a seeded start, and the causal transformer over frames.

The blocks normalise their input, not their sum (Xiong et al., 2020, "On Layer Normalization in the Transformer Architecture",
arXiv:2002.04745, figure 1b), which trains without a warm-up. There is no dropout: a resumed run would differ.

Legend: B batch, T queries, L tokens that are looked at, D feature, N attention heads, H frames, F features of a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from distil.nn.mlp import Activation, activation, linear, seeded

_EXPANSION = 4  # of the feed-forward layers (Vaswani et al., 2017)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2): [B, T, width] -> [B, T, width].

    Keys and values have no bias. One of the keys would change nothing, so that Adam would follow the rounding errors of its
    gradient, and one of the values is part of the result's.

    Args:
        width: of queries and result.
        num_heads: N, a divisor of the width.
        generator: of the start weights.
        source: features of the tokens that are looked at; None: `width`.
    """

    def __init__(self, width: int, num_heads: int, generator: torch.Generator, source: int | None = None) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.query = linear(width, width, generator)
        self.key_value = seeded(nn.Linear(source or width, 2 * width, bias=False, device="meta"), generator)
        self.out = linear(width, width, generator)

    def forward(self, x_BTD: Tensor, source_BLD: Tensor, *, causal: bool = False) -> Tensor:
        """Return what each query finds among the tokens; with `causal`, query t sees the tokens 0 to t alone."""
        query_BNTD = self._split(self.query(x_BTD))
        key_BNLD, value_BNLD = map(self._split, self.key_value(source_BLD).chunk(2, -1))
        found_BNTD = scaled_dot_product_attention(query_BNTD, key_BNLD, value_BNLD, is_causal=causal)
        out: Tensor = self.out(found_BNTD.transpose(1, 2).flatten(2))
        return out

    def _split(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.view(*x_BTD.shape[:2], self._num_heads, -1).transpose(1, 2)


def feed_forward(width: int, kind: Activation, generator: torch.Generator) -> nn.Sequential:
    """Return the two layers that follow the attention, on each token by itself."""
    inner = _EXPANSION * width
    return nn.Sequential(
        nn.LayerNorm(width), linear(width, inner, generator), activation(kind), linear(inner, width, generator)
    )


def places(num: int, width: int, generator: torch.Generator) -> nn.Parameter:
    """Return a learned embedding of each place in a sequence, [num, width], from N(0, 0.02^2)."""
    return nn.Parameter(0.02 * torch.randn(num, width, generator=generator))


class CausalBlock(nn.Module):
    """Attention of each token to itself and those before it, then a feed-forward network; both are added to their input."""

    def __init__(self, width: int, num_heads: int, kind: Activation, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, generator)
        self.feed_forward = feed_forward(width, kind, generator)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the tokens [B, T, D]."""
        normed_BTD = self.norm(x_BTD)
        x_BTD = x_BTD + self.attention(normed_BTD, normed_BTD, causal=True)
        out: Tensor = x_BTD + self.feed_forward(x_BTD)
        return out


class CausalTransformer(nn.Module):
    """One token a frame, which sees itself and the frames before it: [B, H, F] -> [B, H, width].

    Args:
        num_in: F.
        num_frames: H.
        generator: of the start weights.
        width: D.
        num_layers: blocks.
        num_heads: attention heads of each, a divisor of the width.
        kind: the activation of the feed-forward layers.
    """

    def __init__(
        self,
        num_in: int,
        num_frames: int,
        generator: torch.Generator,
        *,
        width: int,
        num_layers: int,
        num_heads: int,
        kind: Activation,
    ) -> None:
        super().__init__()
        self.num_out = width
        self.embed = linear(num_in, width, generator)
        self.places = places(num_frames, width, generator)
        self.blocks = nn.ModuleList(CausalBlock(width, num_heads, kind, generator) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BHF: Tensor) -> Tensor:
        """Return each frame's token, [B, H, width]."""
        x_BHD = self.embed(x_BHF) + self.places
        for block in self.blocks:
            x_BHD = block(x_BHD)
        out: Tensor = self.norm(x_BHD)
        return out

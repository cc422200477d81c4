"""Networks from a chunk to a chunk, given a context and some times: what heads that refine a chunk are made of.

Legend: B batch, T action chunk, I numbers of a step in, O numbers of a step out, S scalars, D context feature, L tokens,
W width, F features of a scalar.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from distil.nn.mlp import linear
from distil.nn.time_features import TIME_FEATURES, frequencies


@dataclass(frozen=True, kw_only=True)
class ChunkSizes:
    """What a chunk network takes and returns."""

    num_in: int  # I, numbers of a step in
    num_out: int  # O, and out
    chunk: int  # T, steps
    num_scalars: int  # S, numbers in [0, 1], such as times
    context_dim: int  # D


class ChunkNetwork(nn.Module, ABC):
    """The constructor takes `(sizes: ChunkSizes, generator, ...)`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_frequencies", torch.tensor(frequencies()), persistent=False)

    @abstractmethod
    def forward(self, x_BTI: Tensor, scalars_BS: Tensor, pooled_BD: Tensor, tokens_BLD: Tensor | None = None) -> Tensor:
        """Return a chunk [B, T, O].

        Args:
            x_BTI: a chunk, such as a noisy one.
            scalars_BS: in [0, 1], such as how noisy it is.
            pooled_BD: the context, and
            tokens_BLD: its tokens, if it has any.
        """

    def times(self, scalars_BS: Tensor) -> Tensor:
        """Return the features of the scalars, [B, S F]; see `distil.nn.time_features`."""
        angles_BSF = scalars_BS[..., None] * self.get_buffer("_frequencies")
        return torch.cat([angles_BSF.sin(), angles_BSF.cos()], -1).flatten(1)


class ChunkMlp(ChunkNetwork):
    """A residual perceptron (He et al., 2016) with layer normalisation before each block (Xiong et al., 2020), without gain.

    `distil.heads.chunk_twin` is the same in numpy.
    """

    def __init__(
        self,
        sizes: ChunkSizes,
        generator: torch.Generator,
        *,
        width: int,
        num_blocks: int,
    ) -> None:
        super().__init__()
        self._shape = (sizes.chunk, sizes.num_out)
        self.inputs = linear(
            sizes.chunk * sizes.num_in + sizes.num_scalars * TIME_FEATURES + sizes.context_dim, width, generator
        )
        pairs = [(linear(width, width, generator), linear(width, width, generator)) for _ in range(num_blocks)]
        self.blocks = nn.ModuleList(layer for pair in pairs for layer in pair)
        self.out = linear(width, sizes.chunk * sizes.num_out, generator)

    def forward(self, x_BTI: Tensor, scalars_BS: Tensor, pooled_BD: Tensor, tokens_BLD: Tensor | None = None) -> Tensor:
        """Return a chunk [B, T, O]; tokens are not read."""
        h_BW = self.inputs(torch.cat([x_BTI.flatten(1), self.times(scalars_BS), pooled_BD], -1))
        for i in range(0, len(self.blocks), 2):
            inner_BW = silu(self.blocks[i](layer_norm(h_BW, h_BW.shape[-1:])))
            h_BW = h_BW + self.blocks[i + 1](inner_BW)
        out: Tensor = self.out(layer_norm(h_BW, h_BW.shape[-1:]))
        return out.view(-1, *self._shape)

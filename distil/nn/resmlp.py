"""A residual multilayer perceptron.

The arrangement is that of transformers without their attention: normalised input of each block, and a sum that nothing but the
blocks' additions changes (Lee et al., 2024, "SimBa: Simplicity Bias for Scaling Up Parameters in Deep Reinforcement Learning",
arXiv:2410.09754, section 4).

Legend: B batch, D feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distil.nn.mlp import Activation, activation, linear


class ResMlp(nn.Module):
    """A linear layer, blocks x + linear(act(linear(norm(x)))), and a last normalisation: [B, num_in] -> [B, width].

    Args:
        num_in: features of the input.
        width: of all layers.
        num_blocks: how many blocks.
        kind: the activation.
        generator: of the start weights.
    """

    def __init__(self, num_in: int, width: int, num_blocks: int, kind: Activation, generator: torch.Generator) -> None:
        super().__init__()
        self.num_out = width
        self.first = linear(num_in, width, generator)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), linear(width, width, generator), activation(kind), linear(width, width, generator)
            )
            for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BD: Tensor) -> Tensor:
        """Return the features [B, width]."""
        x_BD = self.first(x_BD)
        for block in self.blocks:
            x_BD = x_BD + block(x_BD)
        out: Tensor = self.norm(x_BD)
        return out

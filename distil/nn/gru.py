"""A gated recurrent network with a seeded start.

Legend: B batch, H frames, F input feature, D feature.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Gru(nn.Module):
    """Gated recurrent units (Cho et al., 2014, arXiv:1406.1078) over the frames in their order: [B, H, F] -> [B, H, width].

    Args:
        num_in: F.
        width: of the hidden state.
        num_layers: how many, one above the other.
        generator: of the start weights, U(-1/sqrt(width), 1/sqrt(width)) as torch's.
    """

    def __init__(self, num_in: int, width: int, num_layers: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_out = width
        self.gru = nn.GRU(num_in, width, num_layers, batch_first=True, device="meta")
        bound = 1 / math.sqrt(width)
        for name, value in list(self.gru.named_parameters()):
            setattr(self.gru, name, nn.Parameter(torch.empty(value.shape).uniform_(-bound, bound, generator=generator)))

    def forward(self, x_BHF: Tensor) -> Tensor:
        """Return the last layer's hidden state after each frame, [B, H, width], from a state of zeros."""
        self.gru.flatten_parameters()  # on a GPU, those of a copied module are not in one piece, which cuDNN asks for
        states_BHD: Tensor = self.gru(x_BHF)[0]
        return states_BHD

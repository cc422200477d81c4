"""A small convolutional encoder for images of any size.

Legend: B batch, C channel, Y height, X width, D feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distil.nn.mlp import Activation, activation, linear, seeded


def channels_last(shape: Sequence[int]) -> bool:
    """Return whether an image's shape ends with its channels, [Y, X, C] or [K, Y, X, C]: they are the smaller axis there."""
    return len(shape) > 2 and shape[-1] <= shape[-3]


class Cnn(nn.Module):
    """3x3 convolutions of stride 2, then a linear layer: [B, *shape] in [0, 1] -> [B, num_out].

    Each convolution halves the image (rounded up), so images from 1 x 1 on work; a frame stack counts as channels.

    Args:
        shape: of one image: [Y, X], [Y, X, C] or [C, Y, X]; or of K stacked ones: [K, Y, X, C] or [K, C, Y, X].
        channels: output channels of each convolution.
        num_out: features of the result.
        kind: the activation after each layer.
        generator: of the start weights.
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], num_out: int, kind: Activation, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.num_out = num_out
        self._last = channels_last(shape)
        size = list(shape[-3:-1] if self._last else shape[-2:])
        num_c = self._num_channels = math.prod(shape) // math.prod(size)
        layers: list[nn.Module] = []
        for width in channels:
            conv = nn.Conv2d(num_c, width, kernel_size=3, stride=2, padding=1, device="meta")
            layers += [seeded(conv, generator), activation(kind)]
            num_c, size = width, [(n + 1) // 2 for n in size]
        layers += [nn.Flatten(), linear(num_c * size[0] * size[1], num_out, generator), activation(kind)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image_B: Tensor) -> Tensor:
        """Return the features [B, num_out]."""
        image = image_B.movedim(-1, -3) if self._last else image_B
        out: Tensor = self.layers(image.reshape(len(image), self._num_channels, *image.shape[-2:]))
        return out

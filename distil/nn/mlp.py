"""Linear layers with a seeded start, and the multilayer perceptron made of them.

Legend: B batch, D feature.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

Activation = Literal["relu", "tanh", "silu"]
M = TypeVar("M", nn.Linear, nn.Conv2d)

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def seeded(layer: M, generator: torch.Generator) -> M:
    """Return the layer with weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's own start, drawn by `generator`.

    Make the layer on the `meta` device, so that the global random state is neither read nor moved; its parameters are then new
    ones on the CPU.
    """
    bound = 1 / math.sqrt(layer.weight[0].numel())
    for name, value in list(layer.named_parameters()):  # `layer.to_empty` would import sympy, in half a second
        start = torch.empty(value.shape).uniform_(-bound, bound, generator=generator)
        setattr(layer, name, nn.Parameter(start))
    return layer


def linear(num_in: int, num_out: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer `num_in -> num_out` that starts from `generator`."""
    return seeded(nn.Linear(num_in, num_out, device="meta"), generator)


def activation(name: Activation) -> nn.Module:
    """Return a new activation module."""
    return _ACTIVATIONS[name]()


class Mlp(nn.Module):
    """Linear layers, each followed by the activation: [B, num_in] -> [B, hidden[-1]].

    Args:
        num_in: features of the input.
        hidden: width of each layer; empty for the identity.
        kind: the activation.
        generator: of the start weights.
    """

    def __init__(self, num_in: int, hidden: Sequence[int], kind: Activation, generator: torch.Generator) -> None:
        super().__init__()
        self.num_out = hidden[-1] if hidden else num_in
        widths = [num_in, *hidden]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [linear(a, b, generator), activation(kind)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BD: Tensor) -> Tensor:
        """Return the features [B, num_out]."""
        out: Tensor = self.layers(x_BD)
        return out

"""Several perceptrons of equal shape as one batched network: the critics of an actor.

Legend: B batch, D input feature, N networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from distil.nn.mlp import Activation, activation


class Critics(nn.Module):
    """N networks of independent start weights, [B, D] -> [N, B], each layer in one batched product.

    Args:
        num_in: D.
        hidden: width of each hidden layer.
        num: N.
        generator: of the start weights, U(-1/sqrt(fan_in), 1/sqrt(fan_in)) as torch's linear layers.
        kind: the activation.
        standardised: layer normalisation of each hidden layer's sums (Ba et al., 2016), without gain and bias.
    """

    def __init__(
        self,
        num_in: int,
        hidden: Sequence[int],
        num: int,
        generator: torch.Generator,
        *,
        kind: Activation = "relu",
        standardised: bool = False,
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for a, b in itertools.pairwise([num_in, *hidden, 1]):
            bound = 1 / math.sqrt(a)
            for values, shape in ((self.weights, (num, a, b)), (self.biases, (num, 1, b))):
                values.append(nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator)))
        self._num, self._standardised = num, standardised
        self._act = torch.relu_ if kind == "relu" else activation(kind)  # in place: no product needs its own output again

    def forward(self, x_BD: Tensor) -> Tensor:
        """Return each network's value of each row, [N, B]."""
        x_NBD = x_BD.expand(self._num, *x_BD.shape)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x_NBD = torch.baddbmm(bias, x_NBD, weight)
            if i < last:
                x_NBD = layer_norm(x_NBD, x_NBD.shape[-1:]) if self._standardised else x_NBD
                x_NBD = self._act(x_NBD)
        return x_NBD.squeeze(-1)

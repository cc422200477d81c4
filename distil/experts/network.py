"""A multi-layer perceptron in numpy, its buffers allocated once: what foreign policies run in.

Legend: N rows, I inputs, O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distil.types import Array


def _tanh(x: Array) -> None:
    np.tanh(x, out=x)


def _relu(x: Array) -> None:
    np.maximum(x, 0, out=x)


def _elu(x: Array) -> None:
    np.copyto(x, np.expm1(x, where=x < 0, out=np.zeros_like(x)), where=x < 0)


def _leaky_relu(x: Array) -> None:
    np.multiply(x, np.float32(0.01), out=x, where=x < 0)


def _silu(x: Array) -> None:
    x *= (1 + np.tanh(x * np.float32(0.5))) * np.float32(0.5)


def _normalise(x: Array, norm: Norm) -> None:
    x -= x.mean(axis=1, keepdims=True)
    x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + np.float32(norm.epsilon))
    x *= norm.weight
    x += norm.bias


ACTIVATIONS: dict[str, Callable[[Array], None]] = {
    "Tanh": _tanh,
    "ReLU": _relu,
    "ELU": _elu,
    "LeakyReLU": _leaky_relu,
    "SiLU": _silu,
}


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Layer normalisation (Ba et al., 2016), in torch's layout."""

    weight: Array  # [O]
    bias: Array  # [O]
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One affine map, in torch's layout, then its normalisation and its activation."""

    weight: Array  # [O, I]
    bias: Array | None  # [O]
    norm: Norm | None = None
    activation: str | None = None  # a key of `ACTIVATIONS`, with torch's default settings


class NumpyMlp:
    """Layers, one after the other.

    Args:
        layers: at least one; each takes the previous one's output.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._weights_IO = [np.ascontiguousarray(layer.weight.T, np.float32) for layer in layers]
        self._biases_O = [None if layer.bias is None else layer.bias.astype(np.float32) for layer in layers]
        self._norms = [layer.norm for layer in layers]
        self._activations = [layer.activation for layer in layers]
        self._buffers: list[Array] = []  # [N, width] of the input and each layer, for the last N

    @property
    def num_inputs(self) -> int:
        """The width of the input."""
        return len(self._weights_IO[0])

    @property
    def num_outputs(self) -> int:
        """The width of the output."""
        return int(self._weights_IO[-1].shape[1])

    def input(self, num: int) -> Array:
        """Return the input buffer [num, num_inputs] float32, to be filled before `forward`."""
        if not self._buffers or len(self._buffers[0]) != num:
            widths = [self.num_inputs, *(weight.shape[1] for weight in self._weights_IO)]
            self._buffers = [np.empty((num, width), np.float32) for width in widths]
        return self._buffers[0]

    def forward(self) -> Array:
        """Return the output [N, num_outputs] for the input buffer; the next call overwrites it."""
        stages = zip(self._weights_IO, self._biases_O, self._norms, self._activations, strict=True)
        for index, (weight_IO, bias, norm, activation) in enumerate(stages):
            out = np.matmul(self._buffers[index], weight_IO, out=self._buffers[index + 1])
            if bias is not None:
                out += bias
            if norm is not None:
                _normalise(out, norm)
            if activation is not None:
                ACTIVATIONS[activation](out)
        return self._buffers[-1]

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | {"_buffers": []}

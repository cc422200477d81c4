"""Activations in numpy, in place (no torch)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distil.types import Array

_ZERO, _HALF = np.zeros((), np.float32), np.full((), 0.5, np.float32)


def relu(x: Array) -> None:
    """Let x become max(x, 0)."""
    np.maximum(x, _ZERO, out=x)


def tanh(x: Array) -> None:
    """Let x become its hyperbolic tangent."""
    np.tanh(x, out=x)


def silu(x: Array) -> None:
    """Let x become x / (1 + exp(-x))."""
    sigmoid = np.multiply(x, _HALF)  # sigmoid(x) = (1 + tanh(x / 2)) / 2, which never overflows
    np.tanh(sigmoid, out=sigmoid)
    np.multiply(sigmoid, _HALF, out=sigmoid)
    np.add(sigmoid, _HALF, out=sigmoid)
    np.multiply(x, sigmoid, out=x)


ACTIVATIONS: dict[str, Callable[[Array], None]] = {"relu": relu, "tanh": tanh, "silu": silu}

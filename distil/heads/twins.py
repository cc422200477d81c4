"""Heads in numpy: what rollout workers run in place of the torch heads, equal to them to 1e-5 (no torch).

Most heads are one linear layer, named `linear`, and a function of its outputs: a `NumpyHead`. Others are networks of their own:
a `NetworkTwin`. Values come and go as tiles, see `distil.heads.tiles`.

Legend: N environments, S lanes of a tile, D context feature, O outputs of the layer, T action chunk, A action dimension (or
factor), K noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from distil.errors import InputError
from distil.heads.tiles import OUTPUTS, Tiling, rows, weight_of
from distil.spaces import Leaf
from distil.types import Array

_NEGATIVE = np.float32(-np.inf)
_LOW, _HIGH = np.full((), -1, np.float32), np.full((), 1, np.float32)


class NumpyHead(Protocol):
    """What follows the head's linear layer."""

    @property
    def noise_kind(self) -> str:
        """What a sample is drawn with: "none", "normal" or "uniform"."""

    @property
    def noise_size(self) -> int:
        """K, numbers a sample."""

    @property
    def num_outputs(self) -> int:
        """O, of the linear layer."""

    def __call__(self, out: Array, num: int, noise: Array | None) -> Array:
        """Return head actions [N, T, A]: the default ones, or the sample that the noise leads to.

        Args:
            out: [tiles, O, S], which may be overwritten; `rows(out, num)` gives [N, O].
            num: N.
            noise: [N, K]; None for the default actions.
        """


class BoundTwin(Protocol):
    """A head in numpy with a policy's weights."""

    def __call__(self, context: Array, noise: Array | None) -> Array:
        """Return head actions [N, T, A]: the default ones, or the sample that the noise leads to.

        Args:
            context: [tiles, D + 1, S], with ones in the last row.
            noise: [N, K]; None for the default actions.
        """


@runtime_checkable
class NetworkTwin(Protocol):
    """A head of more than one layer."""

    @property
    def noise_kind(self) -> str:
        """What a sample is drawn with: "none", "normal" or "uniform"."""

    @property
    def noise_size(self) -> int:
        """K, numbers a sample."""

    def bind(self, arrays: Mapping[str, Array], num_context: int, tiling: Tiling) -> BoundTwin:
        """Return the head with a policy's weights, for D = `num_context`; InputError if they are not its own."""


Twin = NumpyHead | NetworkTwin


class OneLayer:
    """A `NumpyHead` with its layer's weights."""

    def __init__(self, head: NumpyHead, arrays: Mapping[str, Array], num_context: int, tiling: Tiling) -> None:
        self._head, self._num = head, tiling.rows
        self._weight = weight_of(arrays, "head.linear", num_context, OUTPUTS)
        num_out = len(arrays["head.linear.bias"])
        if num_out != head.num_outputs:
            raise InputError(
                f"policy weights head.linear: found {num_out} outputs, expected {head.num_outputs}; use the config "
                "that made them"
            )
        self._result = tiling.buffer(len(self._weight))[:, :-1]
        self._out = self._result[:, :num_out]

    def __call__(self, context: Array, noise: Array | None) -> Array:
        """Return head actions [N, T, A]."""
        np.matmul(self._weight, context, out=self._result)
        return self._head(self._out, self._num, noise)


def bound(twin: Twin, arrays: Mapping[str, Array], num_context: int, tiling: Tiling) -> BoundTwin:
    """Return a head in numpy with a policy's weights; InputError if they are not its own."""
    if isinstance(twin, NetworkTwin):
        return twin.bind(arrays, num_context, tiling)
    return OneLayer(twin, arrays, num_context, tiling)


def drawn(logits: Array, uniform: Array) -> Array:
    """`distil.nn.choices.drawn` in numpy."""
    below = np.exp(logits - logits.max(-1, keepdims=True)).cumsum(-1)
    chosen: Array = np.minimum((below <= uniform[..., None] * below[..., -1:]).sum(-1), logits.shape[-1] - 1)
    return chosen


class DeterministicTwin:
    """`distil.heads.deterministic` in numpy."""

    noise_kind, noise_size = "none", 0

    def __init__(self, action: Leaf, chunk: int, bound: Literal["clip", "tanh"]) -> None:
        self._chunk = chunk
        self._clips = bound == "clip"
        self.num_outputs = chunk * math.prod(action.shape)

    def __call__(self, out: Array, num: int, noise: Array | None) -> Array:
        """Return head actions [N, T, A]."""
        if self._clips:
            np.minimum(np.maximum(out, _LOW, out=out), _HIGH, out=out)
        else:
            np.tanh(out, out=out)
        return rows(out, num).reshape(num, self._chunk, -1)


class GaussianTwin:
    """`distil.heads.gaussian` in numpy."""

    noise_kind = "normal"

    def __init__(self, action: Leaf, chunk: int, min_log_std: float, max_log_std: float) -> None:
        self._chunk = chunk
        self.noise_size = chunk * math.prod(action.shape)
        self.num_outputs = 2 * self.noise_size
        self._limits = np.float32(min_log_std), np.float32(max_log_std)

    def __call__(self, out: Array, num: int, noise: Array | None) -> Array:
        """Return head actions [N, T, A]."""
        if noise is None:
            return np.tanh(rows(out[:, : self.noise_size], num)).reshape(num, self._chunk, -1)
        std = out[:, self.noise_size :]
        np.minimum(np.maximum(std, self._limits[0], out=std), self._limits[1], out=std)
        np.exp(std, out=std)
        both = rows(out, num)
        sample: Array = both[:, self.noise_size :] * noise
        np.add(both[:, : self.noise_size], sample, out=sample)
        np.tanh(sample, out=sample)
        return sample.reshape(num, self._chunk, -1)


class MixtureTwin:
    """`distil.heads.mixture` in numpy."""

    noise_kind = "normal"

    def __init__(self, action: Leaf, chunk: int, num_components: int, min_log_std: float, max_log_std: float) -> None:
        self._chunk, self._num = chunk, num_components
        self._size = chunk * math.prod(action.shape)
        self.noise_size = self._size + 1
        self.num_outputs = num_components * (1 + 2 * self._size)
        self._limits = np.float32(min_log_std), np.float32(max_log_std)

    def __call__(self, out: Array, num: int, noise: Array | None) -> Array:
        """Return head actions [N, T, A]."""
        found, each = rows(out, num), np.arange(num)
        logits, (mean, log_std) = found[:, : self._num], np.split(found[:, self._num :], 2, 1)
        shape = (num, self._num, self._size)
        if noise is None:
            point: Array = np.tanh(mean.reshape(shape)[each, logits.argmax(-1)])
            return point.reshape(num, self._chunk, -1)
        from scipy.special import ndtr  # a default action needs no scipy, which takes a while to import

        choice = drawn(logits, ndtr(noise[:, -1]))
        std = np.exp(np.clip(log_std.reshape(shape)[each, choice], *self._limits))
        sample: Array = np.tanh(mean.reshape(shape)[each, choice] + std * noise[:, :-1])
        return sample.reshape(num, self._chunk, -1)


class CategoricalTwin:
    """`distil.heads.categorical` in numpy."""

    noise_kind = "uniform"

    def __init__(self, action: Leaf, chunk: int) -> None:
        self._shape = (chunk, len(action.nvec), max(action.nvec))
        self.noise_size = chunk * len(action.nvec)
        self.num_outputs = math.prod(self._shape)
        missing = np.arange(max(action.nvec)) >= np.asarray(action.nvec)[:, None]
        self._missing = missing if missing.any() else None

    def __call__(self, out: Array, num: int, noise: Array | None) -> Array:
        """Return head actions [N, T, A]."""
        logits = rows(out, num).reshape(num, *self._shape)
        if self._missing is not None:
            logits = np.where(self._missing, _NEGATIVE, logits)
        if noise is None:
            return np.asarray(logits.argmax(-1))
        return drawn(logits, noise.reshape(num, *self._shape[:2]))

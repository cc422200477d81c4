"""Inference of MLP policies in numpy: what rollout workers run, without torch, equal to torch's to 1e-5.

Every buffer is made once. Rows depend neither on their neighbours nor on their place in the batch: BLAS sums a large product in
another order at a batch's edges than inside, so the batch is cut into tiles of 16 (8 if that is enough), stored with the batch
as the fastest axis, where every lane of a tile takes the same path. The last layer is padded to a multiple of 8 outputs, as a
single one would go to another routine. Biases ride along as one more input that is always 1.

Legend: N environments, S lanes of a tile, H observation horizon, F features, T action chunk, A action dimension, K noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from distil.errors import InputError
from distil.heads.twins import NumpyHead
from distil.policies.config import NumpyTrunk
from distil.policies.layout import Part, layout, num_features
from distil.policies.spec import PolicyRef
from distil.types import Array

_LANES = 16
_OUTPUTS = 8
_ZERO, _HALF = np.zeros((), np.float32), np.full((), 0.5, np.float32)


def numpy_policy(ref: PolicyRef, num_envs: int) -> NumpyPolicy | None:
    """Return the policy's numpy twin for exactly `num_envs` rows; None if its encoder or head has none.

    Args:
        ref: the policy, no ensemble.
        num_envs: N.

    Raises:
        InputError: arrays and spec don't fit each other.
    """
    trunk, head = ref.spec.encoder.numpy_twin(), ref.spec.head.numpy_twin(ref.spec.action.leaf, ref.spec.config.chunk)
    return None if trunk is None or head is None else NumpyPolicy(ref, num_envs, trunk, head)


class NumpyPolicy:
    """The forward pass of one network for exactly `num_envs` rows.

    Args:
        ref: the policy, no ensemble.
        num_envs: N.
        trunk: the encoder's twin.
        head: the head's twin.

    Raises:
        InputError: arrays and spec don't fit each other.
    """

    doubt = None  # one network has none

    def __init__(self, ref: PolicyRef, num_envs: int, trunk: NumpyTrunk, head: NumpyHead) -> None:
        config = ref.spec.config
        assert config.ensemble == 1
        self._num, self._horizon = num_envs, config.obs_horizon
        self._parts = layout(ref.spec.observation.leaves)
        features = num_features(self._parts)
        self._mean, self._inv_std = ref.arrays["encoder.features.mean"], ref.arrays["encoder.features.inv_std"]
        if self._mean.shape != (features,):
            raise InputError(
                f"policy statistics: found {self._mean.shape}, expected ({features},); use the config that made them"
            )
        lanes = _LANES if num_envs > _LANES // 2 else _LANES // 2
        tiles, width = -(-num_envs // lanes), self._horizon * features
        stage = np.zeros((tiles * lanes, width), np.float32)
        self._raw = stage[:num_envs].reshape(num_envs, self._horizon, features)
        self._stage = stage.reshape(tiles, lanes, width).transpose(0, 2, 1)
        self._input = np.ones((tiles, width + 1, lanes), np.float32)
        self._writes = [_writer(part, self._raw) for part in self._parts]
        self._high = np.full((), config.obs_clip, np.float32)
        self._low = -self._high
        self._activate = _ACTIVATIONS[trunk.activation]
        names = [*trunk.layers, "head.linear"]
        self._layers: list[tuple[Array, Array, Array]] = []  # weights [out, in + 1], result with its row of ones, and without
        for name in names:
            weight = _weight(ref.arrays, name, width, _OUTPUTS if name == names[-1] else 1)
            width = len(weight)
            result = np.ones((tiles, width + 1, lanes), np.float32)
            self._layers.append((weight, result, result[:, :width]))
        self._num_out = len(ref.arrays["head.linear.bias"])
        self._head = head
        if self._num_out != self._head.num_outputs:
            raise InputError(
                f"policy weights head.linear: found {self._num_out} outputs, expected {self._head.num_outputs}; use the config "
                "that made them"
            )

    @property
    def noise_kind(self) -> str:
        """What a sample is drawn with: "none", "normal" or "uniform"."""
        return self._head.noise_kind

    @property
    def noise_size(self) -> int:
        """K, numbers a sample."""
        return self._head.noise_size

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A]: the default ones, or the sample that `noise` [N, K] leads to.

        Args:
            windows: leaf name -> [N, H, ...], or [N, ...] when H is 1.
            noise: None for the default actions.

        Returns:
            It may be a view of a buffer that the next call overwrites.
        """
        for part, write in zip(self._parts, self._writes, strict=True):
            write(windows[part.leaf.name])
        raw = self._raw
        np.subtract(raw, self._mean, out=raw)
        np.multiply(raw, self._inv_std, out=raw)
        np.maximum(raw, self._low, out=raw)
        np.minimum(self._stage, self._high, out=self._input[:, :-1])
        x = self._input
        for weight, result, out in self._layers[:-1]:
            np.matmul(weight, x, out=out)
            self._activate(out)
            x = result
        weight, _, out = self._layers[-1]
        np.matmul(weight, x, out=out)
        actions: Array = self._head(out[:, : self._num_out], self._num, noise)
        return actions


def _weight(arrays: Mapping[str, Array], name: str, num_in: int, multiple: int) -> Array:
    """Return [weight, bias] of a layer, [out, in + 1], with `out` padded by zeros to a multiple."""
    weight, bias = arrays.get(f"{name}.weight"), arrays.get(f"{name}.bias")
    if weight is None or bias is None or weight.shape != (len(bias), num_in):
        found = "nothing" if weight is None else weight.shape
        raise InputError(f"policy weights {name}: found {found}, expected (n, {num_in}); use the config that made them")
    joined = np.zeros((-(-len(bias) // multiple) * multiple, num_in + 1), np.float32)
    joined[: len(bias), :-1], joined[: len(bias), -1] = weight, bias
    return joined


def _writer(part: Part, raw: Array) -> Callable[[Array], None]:
    """Return what writes a leaf's raw features into its place of the input."""
    target = raw[:, :, part.offset : part.offset + part.size]
    shape = (*raw.shape[:2], len(part.leaf.nvec) if part.factor is not None else part.size)
    if part.factor is None:
        return lambda values: np.copyto(target, values.reshape(shape), casting="unsafe")
    factor, value = part.factor, part.value
    return lambda values: np.copyto(target, values.reshape(shape)[..., factor] == value)


def _relu(x: Array) -> None:
    np.maximum(x, _ZERO, out=x)


def _tanh(x: Array) -> None:
    np.tanh(x, out=x)


def _silu(x: Array) -> None:
    sigmoid = np.multiply(x, _HALF)  # sigmoid(x) = (1 + tanh(x / 2)) / 2, which never overflows
    np.tanh(sigmoid, out=sigmoid)
    np.multiply(sigmoid, _HALF, out=sigmoid)
    np.add(sigmoid, _HALF, out=sigmoid)
    np.multiply(x, sigmoid, out=x)


_ACTIVATIONS: dict[str, Callable[[Array], None]] = {"relu": _relu, "tanh": _tanh, "silu": _silu}

"""Inference of MLP policies in numpy: what rollout workers run, without torch, equal to torch's to 1e-5.

Every buffer is made once. Rows depend neither on their neighbours nor on their place in the batch: see `distil.heads.tiles`.

Legend: N environments, S lanes of a tile, H observation horizon, F features, T action chunk, A action dimension, K noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from distil.errors import InputError
from distil.heads.tiles import tiling, weight_of
from distil.heads.twins import Twin, bound
from distil.nn.activations import ACTIVATIONS
from distil.policies.config import NumpyTrunk
from distil.policies.layout import Part, layout, num_features
from distil.policies.spec import PolicyRef
from distil.types import Array


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

    def __init__(self, ref: PolicyRef, num_envs: int, trunk: NumpyTrunk, head: Twin) -> None:
        config = ref.spec.config
        assert config.ensemble == 1
        self._horizon = config.obs_horizon
        self._parts = layout(ref.spec.observation.leaves)
        features = num_features(self._parts)
        self._mean, self._inv_std = ref.arrays["encoder.features.mean"], ref.arrays["encoder.features.inv_std"]
        if self._mean.shape != (features,):
            raise InputError(
                f"policy statistics: found {self._mean.shape}, expected ({features},); use the config that made them"
            )
        tiles, width = tiling(num_envs), self._horizon * features
        stage = np.zeros((tiles.num * tiles.lanes, width), np.float32)
        self._raw = stage[:num_envs].reshape(num_envs, self._horizon, features)
        self._stage = stage.reshape(tiles.num, tiles.lanes, width).transpose(0, 2, 1)
        self._input = tiles.buffer(width)
        self._writes = [_writer(part, self._raw) for part in self._parts]
        self._high = np.full((), config.obs_clip, np.float32)
        self._low = -self._high
        self._activate = ACTIVATIONS[trunk.activation]
        self._layers: list[tuple[Array, Array, Array]] = []  # weights [out, in + 1], result with its row of ones, and without
        for name in trunk.layers:
            weight = weight_of(ref.arrays, name, width)
            width = len(weight)
            result = tiles.buffer(width)
            self._layers.append((weight, result, result[:, :width]))
        self._twin, self._head = head, bound(head, ref.arrays, width, tiles)

    @property
    def noise_kind(self) -> str:
        """What a sample is drawn with: "none", "normal" or "uniform"."""
        return self._twin.noise_kind

    @property
    def noise_size(self) -> int:
        """K, numbers a sample."""
        return self._twin.noise_size

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
        for weight, result, out in self._layers:
            np.matmul(weight, x, out=out)
            self._activate(out)
            x = result
        return self._head(x, noise)


def _writer(part: Part, raw: Array) -> Callable[[Array], None]:
    """Return what writes a leaf's raw features into its place of the input."""
    target = raw[:, :, part.offset : part.offset + part.size]
    shape = (*raw.shape[:2], len(part.leaf.nvec) if part.factor is not None else part.size)
    if part.factor is None:
        return lambda values: np.copyto(target, values.reshape(shape), casting="unsafe")
    factor, value = part.factor, part.value
    return lambda values: np.copyto(target, values.reshape(shape)[..., factor] == value)

"""Heads that refine a chunk by `distil.nn.chunks.ChunkMlp`, in numpy, equal to them to 1e-5 (no torch).

Legend: N environments, S lanes of a tile, W width, K numbers of a chunk, T action chunk, A action dimension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from distil.errors import InputError
from distil.heads.samplers import Sampler
from distil.heads.tiles import OUTPUTS, Tiling, rows, weight_of
from distil.nn.activations import silu
from distil.nn.time_features import TIME_FEATURES, time_features
from distil.spaces import Leaf
from distil.types import Array

_NETWORK = "head.network"
_EPSILON = np.float32(1e-5)  # of torch's layer normalisation
_LOW, _HIGH = np.float32(-1), np.float32(1)


class ChunkTwin:
    """What an `IterativeHead` is before it has weights.

    Args:
        action: the action's leaf.
        chunk: T.
        sampler: the head's.
        random: whether it starts from noise, or always from 0.
        latent_dim: it starts from so many numbers, the same ones at each step, and not from a chunk.
    """

    def __init__(
        self, action: Leaf, chunk: int, sampler: Sampler, *, random: bool = True, latent_dim: int | None = None
    ) -> None:
        self.shape, self.sampler = (chunk, math.prod(action.shape)), sampler
        self.num_start = chunk * (latent_dim or self.shape[1])
        self.num_repeats = chunk if latent_dim else 1
        self.noise_kind = "normal" if random else "none"
        self.noise_size = self.num_start // self.num_repeats if random else 0

    def bind(self, arrays: Mapping[str, Array], num_context: int, tiling: Tiling) -> BoundChunkTwin:
        """Return the head with a policy's weights; InputError if they are not its own."""
        return BoundChunkTwin(self, arrays, num_context, tiling)


class BoundChunkTwin:
    """Runs a head on the contexts of N rows."""

    def __init__(self, twin: ChunkTwin, arrays: Mapping[str, Array], num_context: int, tiling: Tiling) -> None:
        self._twin, self._tiling, self._size = twin, tiling, math.prod(twin.shape)
        num, num_times = twin.num_start, twin.sampler.num_scalars * TIME_FEATURES
        inputs = weight_of(arrays, f"{_NETWORK}.inputs", num + num_times + num_context)
        self._chunk, self._times, self._context = (
            np.ascontiguousarray(each) for each in np.split(inputs, [num, num + num_times], 1)
        )
        width = len(inputs)
        num_blocks = sum(name.startswith(f"{_NETWORK}.blocks.") for name in arrays) // 4  # two layers with two arrays each
        self._blocks = [weight_of(arrays, f"{_NETWORK}.blocks.{i}", width) for i in range(2 * num_blocks)]
        self._out = weight_of(arrays, f"{_NETWORK}.out", width, OUTPUTS)
        self._inner, self._normed = tiling.buffer(width), tiling.buffer(width)
        self._line = [arrays[f"head.{name}"].astype(np.float32) for name in ("slope", "shift")]
        if any(value.shape != twin.shape for value in self._line):
            raise InputError(f"policy weights head.slope, shift: not of {twin.shape} numbers; use the config that made them")
        slope, shift = self._line
        self._limits = [((bound - shift) / slope).reshape(self._size, 1) for bound in (_LOW, _HIGH)]  # before the line
        self._moments: dict[tuple[float, ...], Array] = {}  # of the solver: what they add to the first layer, [W, 1]

    def __call__(self, context: Array, noise: Array | None) -> Array:
        """Return head actions [N, T, A].

        Args:
            context: [tiles, D + 1, S], with ones in the last row.
            noise: [N, K]; None for the default actions.
        """
        tiling = self._tiling
        given = np.matmul(self._context, context)
        if noise is None or not self._twin.noise_size:
            start = tiling.cut(np.zeros((tiling.rows, self._twin.num_start), np.float32))
        else:
            start = tiling.cut(np.tile(noise, self._twin.num_repeats))

        def network(x: Array, *scalars: float) -> Array:
            return self._network(x, given + self._moment(scalars))

        found = rows(self._twin.sampler(network, start, *self._limits), tiling.rows).reshape(-1, *self._twin.shape)
        found = found * self._line[0] + self._line[1]
        actions: Array = np.clip(found, _LOW, _HIGH, out=found)
        return actions

    def _moment(self, scalars: tuple[float, ...]) -> Array:
        if scalars not in self._moments:
            features = np.array(time_features(scalars), np.float32)
            self._moments[scalars] = (self._times @ features)[:, None]
        return self._moments[scalars]

    def _network(self, x: Array, given: Array) -> Array:
        """Return the network's chunk [tiles, K, S] of one, where the context and the times give `given` [tiles, W, S]."""
        h = np.matmul(self._chunk, x)
        h += given
        for first, second in zip(self._blocks[::2], self._blocks[1::2], strict=True):
            _normalise(h, self._normed[:, :-1])
            inner = self._inner[:, :-1]
            np.matmul(first, self._normed, out=inner)
            silu(inner)
            h += np.matmul(second, self._inner)
        _normalise(h, self._normed[:, :-1])
        out: Array = np.matmul(self._out, self._normed)
        return out[:, : self._size]


def _normalise(h: Array, out: Array) -> None:
    """Write layer-normalised h to `out`, [tiles, W, S] both: over W."""
    np.subtract(h, h.mean(1, keepdims=True), out=out)
    variance = np.einsum("nws,nws->ns", out, out)[:, None] / np.float32(h.shape[1])
    out *= 1 / np.sqrt(variance + _EPSILON)

"""The heads of `distil.nn.nade`, bins and codes, in numpy, equal to them to 1e-5 (no torch).

Legend: N environments, S lanes of a tile, C choices, K options of each, H hidden unit, D numbers of a chunk, T action chunk,
A action dimension, E edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from distil.errors import InputError
from distil.heads.tiles import OUTPUTS, Tiling, rows, weight_of
from distil.heads.twins import BoundTwin, drawn
from distil.spaces import Leaf
from distil.types import Array

_NADE = "head.nade"
_LOW, _HIGH = np.float32(-1), np.float32(1)

Pick = Callable[[Array, int], Array]  # (logits [N, K], c) -> choices [N]


class BinsTwin:
    """What `distil.heads.bins` is before it has weights."""

    noise_kind = "uniform"

    def __init__(self, action: Leaf, chunk: int, num_bins: int, temperature: float) -> None:
        self._shape, self._num, self._temperature = (chunk, math.prod(action.shape)), num_bins, temperature
        self.noise_size = 2 * math.prod(self._shape)

    def bind(self, arrays: Mapping[str, Array], num_context: int, tiling: Tiling) -> BoundTwin:
        """Return the head with a policy's weights; InputError if they are not its own."""
        size, (chunk, num_actions), temperature = math.prod(self._shape), self._shape, np.float32(self._temperature)
        nade = _Nade(arrays, num_context, tiling, size, self._num)
        edges_AE = _array(arrays, "head.edges", (num_actions, self._num + 1)).astype(np.float32)
        low_DK, width_DK = np.tile(edges_AE[:, :-1], (chunk, 1)), np.tile(np.diff(edges_AE), (chunk, 1))
        middle_DK = np.tile((edges_AE[:, 1:] + edges_AE[:, :-1]) / 2, (chunk, 1))
        each_D, shape = np.arange(size), (-1, *self._shape)

        def act(context: Array, noise: Array | None) -> Array:
            if noise is None:
                bins_ND = nade.choose(context, _likeliest)
                return np.asarray(middle_DK[each_D, bins_ND].reshape(shape))
            bins_ND = nade.choose(context, _drawing(noise, temperature))
            found: Array = low_DK[each_D, bins_ND] + noise[:, size:] * width_DK[each_D, bins_ND]
            return found.reshape(shape)

        return act


class CodesTwin:
    """What `distil.heads.codes` is before it has weights."""

    noise_kind = "uniform"

    def __init__(self, action: Leaf, chunk: int, num_codes: int, num_levels: int) -> None:
        self._shape, self._num, self.noise_size = (chunk, math.prod(action.shape)), num_codes, num_levels

    def bind(self, arrays: Mapping[str, Array], num_context: int, tiling: Tiling) -> BoundTwin:
        """Return the head with a policy's weights; InputError if they are not its own."""
        size, levels, shape = math.prod(self._shape), np.arange(self.noise_size), (-1, *self._shape)
        nade = _Nade(arrays, num_context, tiling, self.noise_size, self._num)
        codes = _array(arrays, "head.codes", (self.noise_size, self._num, size)).astype(np.float32)
        offset = weight_of(arrays, "head.offset", nade.num_hidden, OUTPUTS)

        def act(context: Array, noise: Array | None) -> Array:
            chosen = nade.choose(context, _likeliest if noise is None else _drawing(noise))
            moved = rows(np.matmul(offset, nade.hidden())[:, :size], tiling.rows)
            actions: Array = np.clip(codes[levels, chosen].sum(1) + moved, _LOW, _HIGH)
            return actions.reshape(shape)

        return act


class _Nade:
    """`distil.nn.nade.Nade` on the contexts of N rows."""

    def __init__(self, arrays: Mapping[str, Array], num_context: int, tiling: Tiling, num: int, num_options: int) -> None:
        self._tiling = tiling
        self._first = weight_of(arrays, f"{_NADE}.linear", num_context)
        self.num_hidden = len(self._first)
        shape = (num, num_options, self.num_hidden)
        self._told = _array(arrays, f"{_NADE}.embedding", shape).astype(np.float32)
        weight, bias = _array(arrays, f"{_NADE}.weight", shape), _array(arrays, f"{_NADE}.bias", shape[:2])
        self._layers = [
            weight_of({"c.weight": weight[c], "c.bias": bias[c]}, "c", self.num_hidden, OUTPUTS) for c in range(num)
        ]
        self._options = num_options
        self._sum = np.empty((tiling.num, self.num_hidden, tiling.lanes), np.float32)
        self._hidden, self._out = tiling.buffer(self.num_hidden), tiling.buffer(len(self._layers[0]))[:, :-1]
        self._choice = np.zeros(tiling.num * tiling.lanes, np.int64)

    def choose(self, context: Array, pick: Pick) -> Array:
        """Return what `pick` chooses one after another, [N, C]."""
        num = self._tiling.rows
        choices = np.empty((num, len(self._layers)), np.int64)
        np.matmul(self._first, context, out=self._sum)
        for c, (weight, told) in enumerate(zip(self._layers, self._told, strict=True)):
            np.matmul(weight, self.hidden(), out=self._out)
            choices[:, c] = self._choice[:num] = pick(rows(self._out[:, : self._options], num), c)
            self._sum += told[self._choice].reshape(self._tiling.num, self._tiling.lanes, -1).transpose(0, 2, 1)
        return choices

    def hidden(self) -> Array:
        """Return the hidden units, [tiles, H + 1, S], with ones in the last row."""
        np.maximum(self._sum, np.float32(0), out=self._hidden[:, :-1])
        return self._hidden


def _likeliest(logits_NK: Array, c: int) -> Array:
    chosen: Array = logits_NK.argmax(-1)
    return chosen


def _drawing(noise_NC: Array, temperature: np.float32 = _HIGH) -> Pick:
    """Return what draws each choice by its noise."""
    return lambda logits_NK, c: drawn(logits_NK / temperature, noise_NC[:, c])


def _array(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    """Return an array; InputError unless it is there and has the shape."""
    found = arrays[name].shape if name in arrays else "nothing"
    if found != shape:
        raise InputError(f"policy weights {name}: found {found}, expected {shape}; use the config that made them")
    return arrays[name]

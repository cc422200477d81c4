"""Linear layers in numpy whose rows depend neither on their neighbours nor on their place in the batch (no torch).

BLAS sums a large product in another order at a batch's edges than inside, so the batch is cut into tiles of some rows (lanes),
with the batch as the fastest axis, where every lane of a tile takes the same path. A layer with a single output would go to
another routine, so the last ones are padded to a multiple of 8. Biases ride along as one more input that is always 1. A batch
of a single row is a tile of one lane: it has no neighbours, and the others would cost several times its own time.

Legend: N rows, S lanes of a tile, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distil.errors import InputError
from distil.types import Array

OUTPUTS = 8
_LANES = 16


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How N rows are cut: into `num` tiles of S `lanes`."""

    rows: int
    num: int
    lanes: int

    def buffer(self, width: int) -> Array:
        """Return a new array of ones, [tiles, width + 1, S]: the last one stays, for biases."""
        return np.ones((self.num, width + 1, self.lanes), np.float32)

    def cut(self, values_NO: Array) -> Array:
        """Return rows as a new array of tiles [tiles, O, S]."""
        tiles = np.zeros((self.num * self.lanes, values_NO.shape[1]), np.float32)
        tiles[: self.rows] = values_NO
        return np.ascontiguousarray(tiles.reshape(self.num, self.lanes, -1).transpose(0, 2, 1))


def tiling(num_rows: int) -> Tiling:
    """Return how N rows are cut."""
    lanes = 1 if num_rows == 1 else _LANES if num_rows > _LANES // 2 else _LANES // 2
    return Tiling(rows=num_rows, num=-(-num_rows // lanes), lanes=lanes)


def rows(out: Array, num: int) -> Array:
    """Return [N, O] of tiles [tiles, O, S]."""
    return out.transpose(0, 2, 1).reshape(-1, out.shape[1])[:num]


def weight_of(arrays: Mapping[str, Array], name: str, num_in: int, multiple: int = 1) -> Array:
    """Return [weight, bias] of a layer, [O, I + 1], with O padded by zeros to a multiple.

    Raises:
        InputError: the arrays have no such layer.
    """
    weight, bias = arrays.get(f"{name}.weight"), arrays.get(f"{name}.bias")
    if weight is None or bias is None or weight.shape != (len(bias), num_in):
        found = "nothing" if weight is None else weight.shape
        raise InputError(f"policy weights {name}: found {found}, expected (n, {num_in}); use the config that made them")
    joined = np.zeros((-(-len(bias) // multiple) * multiple, num_in + 1), np.float32)
    joined[: len(bias), :-1], joined[: len(bias), -1] = weight, bias
    return joined

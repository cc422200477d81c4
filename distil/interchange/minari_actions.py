"""Minari's actions: one array, or the chosen parts of a Dict or Tuple, joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.base import require_keys
from distil.interchange.episodes import BadEpisodeError, join
from distil.spaces import Leaf, SpaceSpec, action_spec, observation_spec
from distil.types import Array

_DEFAULT = ("action",)


@dataclass(frozen=True, kw_only=True)
class Actions:
    """The actions' space, and how to get them from an episode's data."""

    space: SpaceSpec
    parts: SpaceSpec | None = None  # of the whole Dict or Tuple; None: the actions are one array
    keys: tuple[str, ...] = ()  # of the parts that are joined

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Key -> shape of a step's part, of those that are joined."""
        leaves = {leaf.name.removeprefix("obs/"): leaf.shape for leaf in (self.parts.leaves if self.parts else ())}
        return {key: leaves[key] for key in self.keys}

    def read(self, data: Any) -> Array:
        """Return an episode's actions [T, ...]; BadEpisodeError if they aren't the space's."""
        if self.parts is None:
            return np.asarray(data)
        try:
            leaves = self.parts.flatten(data)
        except (KeyError, TypeError, ValueError) as error:
            raise BadEpisodeError(f"its actions don't have the space's keys ({error})") from None
        return join({key: np.asarray(leaves[f"obs/{key}"]) for key in self.keys})


def choose_actions(space: spaces.Space[Any], keys: tuple[str, ...], where: object) -> Actions:
    """Return the actions of a space.

    Args:
        space: of the dataset's actions.
        keys: the parts of a Dict (`arm/turn`) or Tuple (`0`) to take, in this order.
        where: the data, for messages.

    Raises:
        InputError: the space isn't supported, or is a Dict or Tuple none of whose parts were named.
    """
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        if keys != _DEFAULT:
            raise InputError(f"{where}: it has one array of actions; leave action=... out")
        return Actions(space=action_spec(space))
    parts = observation_spec(space)
    leaves = {leaf.name.removeprefix("obs/"): leaf for leaf in parts.leaves}
    if keys == _DEFAULT and "action" not in leaves:
        raise InputError(
            f"{where}: its actions are a {type(space).__name__}: choose and join its parts: action=[{','.join(leaves)}]"
        )
    require_keys(dict.fromkeys(leaves, ""), keys, where)
    chosen = {key: leaves[key] for key in keys}
    return Actions(space=SpaceSpec(tree="action", leaves=(_joined(chosen),)), parts=parts, keys=keys)


def _joined(parts: Mapping[str, Leaf]) -> Leaf:
    """Return the leaf of what `join` makes of the parts: one of them as it is, several as a Box with their bounds."""
    if len(parts) == 1:
        leaf = next(iter(parts.values()))
        return Leaf(**{**vars(leaf), "name": "action"})
    low, high = zip(*(_bounds(leaf) for leaf in parts.values()), strict=True)
    row = join({key: np.zeros((1, *leaf.shape), leaf.dtype) for key, leaf in parts.items()})
    lows, highs = _plain(np.concatenate(low)), _plain(np.concatenate(high))
    return Leaf(name="action", kind="box", shape=row.shape[1:], dtype=row.dtype.name, low=lows, high=highs)


def _plain(bounds: Array) -> tuple[float, ...]:
    """Return bounds as a leaf has them: one where all are equal."""
    values = tuple(bounds.tolist())
    return values[:1] if len(set(values)) == 1 else values


def _bounds(leaf: Leaf) -> tuple[Array, Array]:
    """Return the least and the largest values of a leaf, flattened."""
    if leaf.kind == "box":
        low, high = leaf.bounds()
        return low.reshape(-1).astype(np.float64), high.reshape(-1).astype(np.float64)
    most = np.array(leaf.nvec, np.float64) - 1 + leaf.start
    return np.full(len(most), float(leaf.start)), most

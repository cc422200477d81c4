"""Observation and action spaces as plain data: a JSON-compatible tree and its flat leaves, one per column.

An observation space is Box, Discrete, MultiDiscrete or MultiBinary, or any nesting of Dict and Tuple over those. Its leaves
are named by their path: a plain Box is `obs`, `Dict(image=..., state=Tuple(a, b))` is `obs/image`, `obs/state/0`,
`obs/state/1`. An action space is one leaf, `action`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.types import Array

MAX_BITS = 1 << 24  # largest MultiBinary; in a foreign file its size is a single unchecked number
SUPPORTED_LEAVES = "Box, Discrete, MultiDiscrete, MultiBinary"
_CHANNELS = (1, 3, 4)
_LEAST_IMAGE = 8  # pixels along an edge
_SHOWN = 8  # how many numbers of a bound a message shows


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One array of a space: the basis of a store column, a network input or a head."""

    name: str  # "obs", "obs/image", "action"
    kind: str  # "box", "discrete", "multi_discrete", "multi_binary"
    shape: tuple[int, ...]  # shape of one element; () for discrete
    dtype: str  # numpy's name of the environment's own dtype
    nvec: tuple[int, ...] = ()  # discrete, multi_discrete: number of choices per factor, C order; multi_binary: all 2
    start: int = 0  # discrete: the smallest value
    low: tuple[float, ...] = ()  # box: bounds in C order; one value if all are equal
    high: tuple[float, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether this is a uint8 Box of two or three dimensions, or of four: a stack of images with channels."""
        return self.kind == "box" and self.dtype == "uint8" and len(self.shape) in (2, 3, 4)

    @property
    def looks_like_float_image(self) -> bool:
        """Whether this is a float Box whose last three dimensions look like an image with 1, 3 or 4 channels, first or last."""
        if self.kind != "box" or np.dtype(self.dtype).kind != "f" or len(self.shape) not in (3, 4):
            return False
        first, middle, last = self.shape[-3:]
        sizes = (first, middle) if last in _CHANNELS else (middle, last) if first in _CHANNELS else (0,)
        return min(sizes) >= _LEAST_IMAGE

    def bounds(self) -> tuple[Array, Array]:
        """Return `low`, `high` of a box, each of `shape`, float64."""
        size = int(np.prod(self.shape))
        low, high = (np.broadcast_to(np.asarray(bound, np.float64), (size,)) for bound in (self.low, self.high))
        return low.reshape(self.shape), high.reshape(self.shape)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `leaf_from_json` reads it back."""
        out: dict[str, Any] = {"name": self.name, "kind": self.kind, "shape": list(self.shape), "dtype": self.dtype}
        if self.kind == "box":
            out |= {"low": [_number(v) for v in self.low], "high": [_number(v) for v in self.high]}
        else:
            out |= {"nvec": list(self.nvec), "start": self.start}
        return out


def _number(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)  # JSON has no infinity


def _bounds(values: Array) -> tuple[float, ...]:
    flat = np.asarray(values, np.float64).reshape(-1)
    return (float(flat[0]),) if flat.size and np.all(flat == flat[0]) else tuple(float(v) for v in flat)


def leaf_from_json(data: Mapping[str, Any]) -> Leaf:
    """Return the leaf that `Leaf.to_json` wrote; ValueError, TypeError or KeyError for anything else."""
    leaf = Leaf(
        name=str(data["name"]),
        kind=str(data["kind"]),
        shape=tuple(int(v) for v in data["shape"]),
        dtype=str(np.dtype(data["dtype"])),
        nvec=tuple(int(v) for v in data.get("nvec", ())),
        start=int(data.get("start", 0)),
        low=tuple(float(v) for v in data.get("low", ())),
        high=tuple(float(v) for v in data.get("high", ())),
    )
    size, num = int(np.prod(leaf.shape, dtype=object)), len(leaf.nvec)
    fits = {
        "box": {len(leaf.low), len(leaf.high)} <= {1, size} and not leaf.nvec,
        "discrete": leaf.shape == () and num == 1,
        "multi_discrete": num == size,
        "multi_binary": num == size,
    }
    if leaf.kind not in fits:
        raise ValueError(f"{leaf.name}: unknown kind of space {leaf.kind!r}; known: {', '.join(fits)}")
    if not fits[leaf.kind] or min(leaf.shape, default=1) < 0 or min(leaf.nvec, default=1) < 1:
        raise ValueError(f"{leaf.name}: its shape, bounds or numbers of choices don't fit a {leaf.kind}")
    if np.dtype(leaf.dtype).kind not in "biuf":
        raise ValueError(f"{leaf.name}: its dtype {leaf.dtype} is not numeric")
    return leaf


@dataclass(frozen=True, kw_only=True)
class SpaceSpec:
    """A whole space: its tree and its leaves. Equal specs mean equal spaces."""

    tree: Any  # a leaf's name, {"dict": {key: tree}} or {"tuple": [tree, ...]}
    leaves: tuple[Leaf, ...]  # in the tree's order

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `space_from_json` reads it back."""
        return {"tree": self.tree, "leaves": [leaf.to_json() for leaf in self.leaves]}

    @property
    def leaf(self) -> Leaf:
        """The leaf of a space that has exactly one (every action space)."""
        assert len(self.leaves) == 1
        return self.leaves[0]

    def flatten(self, value: Any) -> dict[str, Array]:
        """Return leaf name -> array for one element or a batch in the environment's own structure."""
        out: dict[str, Array] = {}
        _flatten(self.tree, value, out)
        return out

    def unflatten(self, leaves: Mapping[str, Array]) -> Any:
        """Return the environment's own structure (dicts and tuples) over the arrays of `leaves`, batched or not."""
        return _unflatten(self.tree, leaves)

    def describe(self) -> str:
        """Return a short text for error messages, such as `Box(8,) float32`."""
        names = {"box": "Box", "discrete": "Discrete", "multi_discrete": "MultiDiscrete", "multi_binary": "MultiBinary"}
        parts = []
        for leaf in self.leaves:
            numbers = leaf.shape if leaf.kind in ("box", "multi_binary") else leaf.nvec
            size = ", ".join(map(str, numbers))
            if leaf.kind == "multi_discrete" and len(leaf.shape) > 1:
                size = str(np.reshape(leaf.nvec, leaf.shape).tolist())
            prefix = f"{leaf.name}: " if len(self.leaves) > 1 else ""
            parts.append(f"{prefix}{names[leaf.kind]}({size})" + (f" {leaf.dtype}" if leaf.kind == "box" else ""))
        return ", ".join(parts)


def difference(ours: SpaceSpec, theirs: SpaceSpec, whose: tuple[str, str]) -> str:
    """Describe the first difference of two spaces, such as `obs low is -inf in the data, -1 in the environment`.

    Args:
        ours: the first space.
        theirs: the second space.
        whose: their names in the text, such as ("the data", "the environment").

    Returns:
        The description; empty for equal spaces.
    """
    mine, other = ({leaf.name: leaf for leaf in space.leaves} for space in (ours, theirs))
    for names, owner, rest in ((mine, 0, other), (other, 1, mine)):
        if extra := [name for name in names if name not in rest]:
            return f"{', '.join(extra)} {'is' if len(extra) == 1 else 'are'} only in {whose[owner]}"
    for name, leaf in mine.items():
        for field in ("kind", "shape", "dtype", "nvec", "start", "low", "high"):
            values = getattr(leaf, field), getattr(other[name], field)
            if values[0] != values[1]:
                where, texts = _texts(leaf, values)
                return f"{name} {field}{where} is {texts[0]} in {whose[0]}, {texts[1]} in {whose[1]}"
    return "" if ours == theirs else f"the keys are ordered or nested as {ours.tree} in {whose[0]}, {theirs.tree} in {whose[1]}"


def _texts(leaf: Leaf, values: tuple[Any, Any]) -> tuple[str, list[str]]:
    """Return where two values of a leaf differ and their texts; of long bounds, only the first differing number."""
    if not any(isinstance(value, tuple) and len(value) > _SHOWN for value in values):
        return "", [_short(value) for value in values]
    first, second = (np.broadcast_to(value, max(len(values[0]), len(values[1]))) for value in values)
    at = int(np.flatnonzero(first != second)[0])
    place = [int(i) for i in np.unravel_index(at, leaf.shape)] if first.size == np.prod(leaf.shape) else [at]
    return str(place), [_short(first[at]), _short(second[at])]


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return _short(value[0]) if len(value) == 1 else f"({', '.join(map(_short, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def space_from_json(data: Mapping[str, Any]) -> SpaceSpec:
    """Return the spec that `SpaceSpec.to_json` wrote; ValueError, TypeError or KeyError for anything else."""
    spec = SpaceSpec(tree=data["tree"], leaves=tuple(leaf_from_json(leaf) for leaf in data["leaves"]))
    names = [leaf.name for leaf in spec.leaves]
    if not names or sorted(_names(spec.tree)) != sorted(names):
        raise ValueError(f"its tree does not match its leaves ({', '.join(names) or 'none'})")
    return spec


def _names(tree: Any) -> Iterator[str]:
    """Yield the leaves of a tree in its order."""
    if isinstance(tree, str):
        yield tree
        return
    ((kind, children),) = tree.items()
    if kind not in ("dict", "tuple"):
        raise ValueError(f"its tree has an unknown node {kind!r}")
    for child in children.values() if kind == "dict" else children:
        yield from _names(child)


def observation_spec(space: spaces.Space[Any]) -> SpaceSpec:
    """Return the spec of an observation space; InputError names an unsupported part by its path."""
    leaves: list[Leaf] = []
    tree = _walk(space, "obs", leaves)
    if not leaves:
        raise InputError("the observation space is empty: give the environment at least one observation")
    return SpaceSpec(tree=tree, leaves=tuple(leaves))


def action_spec(space: spaces.Space[Any]) -> SpaceSpec:
    """Return the spec of an action space: Box, Discrete, MultiDiscrete or MultiBinary."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        raise InputError(f"action space {type(space).__name__} isn't supported: flatten it to one of {SUPPORTED_LEAVES}")
    leaves: list[Leaf] = []
    tree = _walk(space, "action", leaves)
    return SpaceSpec(tree=tree, leaves=tuple(leaves))


def _walk(space: spaces.Space[Any], name: str, leaves: list[Leaf]) -> Any:
    if isinstance(space, spaces.Dict):
        return {"dict": {str(key): _walk(sub, f"{name}/{key}", leaves) for key, sub in space.spaces.items()}}
    if isinstance(space, spaces.Tuple):
        return {"tuple": [_walk(sub, f"{name}/{i}", leaves) for i, sub in enumerate(space.spaces)]}
    leaves.append(_leaf(space, name))
    return name


def _leaf(space: spaces.Space[Any], name: str) -> Leaf:
    if isinstance(space, spaces.Box):
        return Leaf(
            name=name,
            kind="box",
            shape=space.shape,
            dtype=str(space.dtype),
            low=_bounds(space.low),
            high=_bounds(space.high),
        )
    if isinstance(space, spaces.Discrete):
        return Leaf(name=name, kind="discrete", shape=(), dtype="int64", nvec=(int(space.n),), start=int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        if np.any(space.start != 0):
            raise InputError(f"{name}: MultiDiscrete with start != 0 isn't supported: shift it to 0 with a wrapper")
        nvec = tuple(int(n) for n in np.asarray(space.nvec).reshape(-1))
        return Leaf(name=name, kind="multi_discrete", shape=space.shape, dtype=str(space.dtype), nvec=nvec)
    if isinstance(space, spaces.MultiBinary):
        size = int(np.prod(space.shape, dtype=object))
        if not 0 < size <= MAX_BITS:
            raise InputError(f"{name}: MultiBinary of {size:,} bits isn't supported: use 1 to {MAX_BITS:,}")
        return Leaf(name=name, kind="multi_binary", shape=space.shape, dtype=str(space.dtype), nvec=(2,) * size)
    raise InputError(
        f"{name}: space {type(space).__name__} isn't supported: use {SUPPORTED_LEAVES}, or Dict and Tuple of those"
    )


def _flatten(tree: Any, value: Any, out: dict[str, Array]) -> None:
    if isinstance(tree, str):
        out[tree] = np.asarray(value)
    elif "dict" in tree:
        for key, sub in tree["dict"].items():
            _flatten(sub, value[key], out)
    else:
        for sub, part in zip(tree["tuple"], value, strict=True):
            _flatten(sub, part, out)


def _unflatten(tree: Any, leaves: Mapping[str, Array]) -> Any:
    if isinstance(tree, str):
        return leaves[tree]
    if "dict" in tree:
        return {key: _unflatten(sub, leaves) for key, sub in tree["dict"].items()}
    return tuple(_unflatten(sub, leaves) for sub in tree["tuple"])


def stack(items: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return leaf name -> [N, ...] from N single observations."""
    return {name: np.stack([item[name] for item in items]) for name in items[0]}

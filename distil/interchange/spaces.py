"""Spaces for data that names none, and conversion from and to Gymnasium's spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.spaces import Leaf, SpaceSpec, action_spec, observation_spec
from distil.store.schema import StoreSpec
from distil.types import Array

_MOST_CHOICES = 10_000


def gym_space(spec: SpaceSpec) -> spaces.Space[Any]:
    """Return the Gymnasium space that `spec` describes."""
    leaves = {leaf.name: leaf for leaf in spec.leaves}

    def build(tree: Any) -> spaces.Space[Any]:
        if isinstance(tree, str):
            return _gym_leaf(leaves[tree])
        if "dict" in tree:
            return spaces.Dict([(key, build(sub)) for key, sub in tree["dict"].items()])
        return spaces.Tuple([build(sub) for sub in tree["tuple"]])

    return build(spec.tree)


def _gym_leaf(leaf: Leaf) -> spaces.Space[Any]:
    if leaf.kind == "box":
        dtype: Any = np.dtype(leaf.dtype)
        low, high = leaf.bounds()
        if dtype.kind in "iu":  # float64 can't hold the widest bounds
            info = np.iinfo(dtype)
            low, high = (np.array([min(max(int(v), info.min), info.max) for v in b.flat], dtype) for b in (low, high))
        return spaces.Box(low.astype(dtype).reshape(leaf.shape), high.astype(dtype).reshape(leaf.shape), leaf.shape, dtype)
    if leaf.kind == "discrete":
        return spaces.Discrete(leaf.nvec[0], start=leaf.start)
    if leaf.kind == "multi_discrete":
        return spaces.MultiDiscrete(np.reshape(leaf.nvec, leaf.shape), dtype=np.dtype(leaf.dtype).type)
    return spaces.MultiBinary(list(leaf.shape) if len(leaf.shape) != 1 else leaf.shape[0])


def leaf_of(name: str, shape: tuple[int, ...], dtype: Any) -> Leaf:
    """Return a leaf for rows of `shape` and `dtype` of which no bounds are known; a number a row becomes shape (1,)."""
    dtype, shape = np.dtype(dtype).newbyteorder("="), shape or (1,)
    if dtype == np.bool_:
        return Leaf(name=name, kind="multi_binary", shape=shape, dtype="int8", nvec=(2,) * int(np.prod(shape)))
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: {dtype} isn't numbers; choose other observations, or convert it first")
    low, high = (-np.inf, np.inf) if dtype.kind == "f" else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
    return Leaf(name=name, kind="box", shape=shape, dtype=dtype.name, low=(low,), high=(high,))


def observation_of(arrays: Mapping[str, tuple[tuple[int, ...], Any]]) -> SpaceSpec:
    """Return the space of observations with keys, each key -> (shape of a row, dtype), as leaves `obs/KEY`."""
    leaves = tuple(leaf_of(f"obs/{key}", shape, dtype) for key, (shape, dtype) in arrays.items())
    if not leaves:
        raise InputError("no observations chosen: name at least one with observations=[...]")
    return SpaceSpec(tree={"dict": {key: f"obs/{key}" for key in arrays}}, leaves=leaves)


def action_of(arrays: Iterable[Array]) -> SpaceSpec:
    """Return the space of actions [T, ...]: floats are an unbounded Box, whole numbers from 0 are choices."""
    first, most = None, np.zeros(())
    for array in arrays:
        first = array if first is None else first
        if array.dtype.kind not in "biu":
            break
        most = np.maximum(most, np.max(array, axis=0, initial=0)) if array.shape[1:] == first.shape[1:] else most
        if np.min(array, initial=0) < 0 or np.max(most) >= _MOST_CHOICES:
            first = array.astype(array.dtype)
            break
    else:
        if first is not None:
            return SpaceSpec(tree="action", leaves=(_choices(first.shape[1:], most),))
    if first is None:
        raise InputError("there are no episodes, so the actions' kind can't be known")
    return SpaceSpec(tree="action", leaves=(leaf_of("action", first.shape[1:], first.dtype),))


def _choices(shape: tuple[int, ...], most: Array) -> Leaf:
    nvec = tuple(int(v) + 1 for v in np.broadcast_to(most, shape or (1,)).flat)
    if len(nvec) == 1:
        return Leaf(name="action", kind="discrete", shape=(), dtype="int64", nvec=(max(nvec[0], 2),))
    return Leaf(name="action", kind="multi_discrete", shape=shape, dtype="int64", nvec=tuple(max(n, 2) for n in nvec))


def spec_of(
    env: str | gymnasium.Env[Any, Any] | None, observation: spaces.Space[Any] | None, action: spaces.Space[Any] | None
) -> StoreSpec | None:
    """Return the spec of an environment or of two spaces, None for neither; InputError for both or for half of it."""
    if env is None and observation is None and action is None:
        return None
    if env is None and observation is not None and action is not None:
        return StoreSpec(observation=observation_spec(observation), action=action_spec(action))
    if env is None or observation is not None or action is not None:
        raise InputError("give `env`, or both `observation_space` and `action_space`")
    try:
        made = gymnasium.make(env) if isinstance(env, str) else env
    except (gymnasium.error.Error, ImportError) as error:
        raise InputError(f"env {env!r}: {error}") from None
    about = {"kind": "gym", "id": made.spec.id, "kwargs": dict(made.spec.kwargs)} if made.spec else {}
    spec = StoreSpec(observation=observation_spec(made.observation_space), action=action_spec(made.action_space), env=about)
    if isinstance(env, str):
        made.close()
    return spec

"""Gym's and Gymnasium's spaces, from records of `distil.experts.pickles`: nothing of the pickle is executed."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.experts import pickles

_MAX_SIZE = 10_000_000  # numbers in one element of a space


def space_of(record: Any, where: str, again: str) -> spaces.Space[Any]:
    """Return the space that a record describes.

    Args:
        record: from `pickles.read`.
        where: the name used in errors.
        again: how to save it again, for errors.

    Raises:
        InputError: the record is damaged, or of a class of another package.
    """
    try:
        return _space(record)
    except InputError as error:
        raise InputError(f"{where}: {error}; wrap the model as expert.kind=import") from None
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{where}: damaged: {reason}; {again}") from None


def _space(record: Any) -> spaces.Space[Any]:
    origin = getattr(record, "origin", "")
    name = origin.rpartition(".")[2]
    if origin.partition(".")[0] not in ("gym", "gymnasium") or not isinstance(record.state, dict):
        raise InputError(f"a space of kind {origin or type(record).__name__}, which isn't one of Gymnasium's")
    state = record.state
    if name == "Dict":
        subspaces = state["spaces"].items()
        if any(getattr(sub, "origin", "").endswith(".Dict") for _, sub in subspaces):
            raise InputError("a nested Dict, which isn't supported")
        return spaces.Dict([(str(key), _space(sub)) for key, sub in subspaces])
    if name == "Box":
        low, high = pickles.array(state["low"]), pickles.array(state["high"])
        dtype = state["dtype"].dtype() if isinstance(state.get("dtype"), pickles.Record) else low.dtype
        return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)
    if name == "Discrete":
        return spaces.Discrete(_integer(state["n"]), start=_integer(state.get("start", 0)))
    if name == "MultiDiscrete":
        nvec = pickles.array(state["nvec"])
        start = pickles.array(state["start"]) if state.get("start") is not None else np.zeros_like(nvec)
        return spaces.MultiDiscrete(nvec.astype(np.int64), start=start.astype(np.int64))
    if name == "MultiBinary":
        size = state["n"]
        shape = tuple(map(_integer, size)) if isinstance(size, list | tuple) else pickles.array(size).reshape(-1).tolist()
        if np.prod(shape, dtype=float) > _MAX_SIZE:
            raise InputError(f"a MultiBinary of {shape}")
        return spaces.MultiBinary(shape if len(shape) > 1 else int(shape[0]))
    raise InputError(f"a space of kind {name}, which isn't supported")


def _integer(value: Any) -> int:
    return int(pickles.array(value).item())

"""The spaces that a model was trained on: pickles of Gym's or Gymnasium's classes in its settings, read as data."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.sb3 import pickles

_MAX_SIZE = 10_000_000  # numbers in one element of a space


def read_space(entry: Any, where: str) -> spaces.Space[Any]:
    """Return the space of a model's `observation_space` or `action_space`.

    Args:
        entry: the entry of the settings.
        where: the name used in errors.

    Raises:
        InputError: the entry is missing, damaged, or a class of another package.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get(":serialized:"), str):
        raise InputError(f"{where}: is missing; save the model again with Stable-Baselines3")
    try:
        data = base64.b64decode(entry[":serialized:"], validate=True)
    except binascii.Error as error:
        raise InputError(f"{where}: damaged: {error}; copy the file again") from None
    record = pickles.read(data, where)
    try:
        return _space(record)
    except InputError as error:
        raise InputError(f"{where}: {error}; wrap the model as expert.kind=import") from None
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{where}: damaged: {reason}; save the model again with Stable-Baselines3") from None


def _space(record: Any) -> spaces.Space[Any]:
    origin = getattr(record, "origin", "")
    name = origin.rpartition(".")[2]
    if origin.partition(".")[0] not in ("gym", "gymnasium") or not isinstance(record.state, dict):
        raise InputError(f"a space of kind {origin or type(record).__name__}, which isn't one of Gymnasium's")
    state = record.state
    if name == "Dict":
        subspaces = state["spaces"].items()
        if any(getattr(sub, "origin", "").endswith(".Dict") for _, sub in subspaces):
            raise InputError("a nested Dict, which Stable-Baselines3 doesn't support")
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

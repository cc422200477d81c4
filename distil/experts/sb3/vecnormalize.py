"""The running statistics that a Stable-Baselines3 policy was trained under (VecNormalize)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.experts import pickles
from distil.experts.inputs import Statistics
from distil.types import Array

_CLASS = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"


def read_statistics(path: Path) -> Statistics | None:
    """Return the statistics of a `vecnormalize.pkl`, or None if it says that observations were not normalised.

    Raises:
        InputError: the file is missing, damaged, or holds anything but numbers.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; set expert.vecnormalize to the statistics or to none")
    if path.stat().st_size > pickles.MAX_BYTES:
        raise InputError(
            f"{path}: {path.stat().st_size} bytes, too large for statistics; set expert.vecnormalize to the right file"
        )
    root = pickles.read(path.read_bytes(), str(path))
    if getattr(root, "origin", "") != _CLASS or not isinstance(getattr(root, "state", None), dict):
        raise InputError(f"{path}: holds no VecNormalize; set expert.vecnormalize to its file")
    try:
        return _statistics(root.state)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged at {error}; save it again with VecNormalize.save") from None


def _statistics(state: dict[str, Any]) -> Statistics | None:
    if not state.get("norm_obs", True):
        return None
    running = state["obs_rms"]
    keys = state.get("norm_obs_keys")
    moments = {f"obs/{key}": running[key] for key in keys or running} if isinstance(running, dict) else {"obs": running}
    epsilon = float(pickles.array(state["epsilon"]))
    mean = {leaf: _moment(record, "mean") for leaf, record in moments.items()}
    scale = {leaf: np.sqrt(_moment(record, "var") + epsilon) for leaf, record in moments.items()}
    return Statistics(mean=mean, scale=scale, clip=float(pickles.array(state["clip_obs"])))


def _moment(record: Any, name: str) -> Array:
    state = getattr(record, "state", None)
    if not isinstance(state, dict):
        raise InputError(f"{type(record).__name__} in place of running statistics")
    values = pickles.array(state[name]).astype(np.float64)
    if not np.isfinite(values).all() or (name == "var" and (values < 0).any()):
        raise InputError(f"its {name} isn't finite")
    return values

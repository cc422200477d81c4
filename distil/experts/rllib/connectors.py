"""What RLlib puts between an environment and its module: the connectors of a checkpoint, read as data.

Those that only move data are known by name, `MeanStdFilter`, `FlattenObservations` and `NormalizeAndClipActions` are applied,
and any other is refused: a policy behind a connector that is left out would act on other numbers than in its training.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.inputs import Statistics
from distil.experts.pickled_space import space_of
from distil.experts.rllib.checkpoint import AGAIN, CLASS, MODULES, OWN, read_bytes, read_class
from distil.interchange.rllib_codec import array_of, unpack
from distil.types import Array

PIPELINES = ("env_to_module_connector", "module_to_env_connector")
_RLLIB = "ray.rllib.connectors."
_PLAIN = (
    "AddObservationsFromEpisodesToBatch",
    "AddTimeDimToBatchAndZeroPad",
    "AddStatesFromEpisodesToBatch",
    "BatchIndividualItems",
    "NumpyToTensor",
    "GetActions",
    "TensorToNumpy",
    "UnBatchToIndividualItems",
    "RemoveSingleTsTimeRankFromBatch",
    "ListifyDataForVectorEnv",
)
_FILTER = "MeanStdFilter"
_MAX_STATE_BYTES = 64 << 20
_SMALL = 1e-6  # RLlib adds it to the deviation


@dataclass(frozen=True, kw_only=True)
class Connectors:
    """What happens to observations before the module and to actions after it."""

    observation: spaces.Space[Any]  # the environment's, in training
    action: spaces.Space[Any]
    flattens: bool
    rescales: bool  # actions from [-1, 1] to the environment's bounds
    statistics: Statistics | None


def find_connectors(module: Path) -> Path | None:
    """Return the folder of the connectors of a module's checkpoint; None for a module that was saved alone."""
    if module.parts[-4:-1] != Path(MODULES).parts:
        return None
    place = module.parents[3] / "env_runner"
    return place if all((place / name / CLASS).is_file() for name in PIPELINES) else None


def read_connectors(folder: Path) -> Connectors:
    """Return the connectors of a checkpoint; InputError names an unsupported one, or a damaged file."""
    before, after = (read_class(folder / name)[0] for name in PIPELINES)
    where = f"{folder / PIPELINES[0]}"
    pieces = [*_pieces(before, where), *_pieces(after, f"{folder / PIPELINES[1]}")]
    found = {name: kwargs for name, kwargs in pieces if name not in _PLAIN}
    for name, kwargs in found.items():
        if kwargs.get("multi_agent") or kwargs.get("keys_to_remove"):
            raise InputError(f"{where}: {name} with multi_agent or keys_to_remove, which isn't supported: {OWN}")
    names = [name for name, _ in pieces if name in (_FILTER, "FlattenObservations")]
    if len(names) != len(set(names)):
        raise InputError(f"{where}: several connectors {names[0]}, which isn't supported: {OWN}")
    return Connectors(
        observation=space_of(before.get("0"), f"{where}: its observation space", AGAIN),
        action=space_of(before.get("1"), f"{where}: its action space", AGAIN),
        flattens="FlattenObservations" in found,
        rescales=found.get("NormalizeAndClipActions", {}).get("normalize_actions") is True,
        statistics=_statistics(folder / PIPELINES[0] / _FILTER / "state.msgpack") if _FILTER in found else None,
    )


def _pieces(pipeline: Mapping[str, Any], where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return name and keyword arguments of each connector, in order."""
    known = (*_PLAIN, _FILTER, "FlattenObservations", "NormalizeAndClipActions")
    out = list[tuple[str, Mapping[str, Any]]]()
    try:
        for kind, _, kwargs in pipeline["connectors"]:
            name = kind.origin.rpartition(".")[2]
            if not kind.origin.startswith(_RLLIB) or name not in known or not isinstance(kwargs, dict):
                raise InputError(f"{where}: the connector {kind.origin[:200]} isn't supported: {OWN}")
            out.append((name, kwargs))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{where}: its list of connectors makes no sense; {AGAIN}") from None
    return out


def _statistics(path: Path) -> Statistics:
    """Return the statistics of a MeanStdFilter over one vector."""
    if not path.is_file() and path.with_suffix(".pkl").is_file():
        raise InputError(f"{path.with_suffix('.pkl')}: a pickle, which is not read because it can run code; {AGAIN}")
    data = read_bytes(path, _MAX_STATE_BYTES)
    try:
        (state,) = unpack(data).values()
        (running,) = state["running_stats"]
        num = int(running["num_pushes"])
        mean, squares = (_numbers(running[name]) for name in ("mean_array", "sum_sq_diff_array"))
        if mean.shape != squares.shape or (squares < 0).any():
            raise ValueError("its mean and deviation differ")
        variance = squares / (num - 1) if num > 1 else np.zeros_like(squares)
        std = np.sqrt(variance.astype(np.float32)).astype(np.float64)
        clip = float(state["clip_by_value"] or np.inf)
        mean = mean if state["de_mean_to_zero"] else np.zeros_like(mean)
        scale = std + _SMALL if state["de_std_to_one"] else np.ones_like(std)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, zlib.error) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{path}: not the statistics of one vector ({reason}); {AGAIN}, or {OWN}") from None
    return Statistics(mean={"obs": mean}, scale={"obs": scale}, clip=clip)


def _numbers(text: str) -> Array:
    values = array_of(text).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("numbers that aren't finite")
    return values

"""An RLlib checkpoint of the new API stack: the folder of the module to serve, its class, spaces, settings and weights.

RLlib always pickles `class_and_ctor_args.pkl`: it is read as data (`distil.experts.pickles`), nothing in it is executed. The
weights must be msgpack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.experts import pickles
from distil.experts.pickled_space import space_of
from distil.interchange.rllib_codec import unpack
from distil.types import Array

AGAIN = "save it with algorithm.save_to_path(PATH, use_msgpack=True) of RLlib 2.40 or newer"
OWN = "wrap the model as expert.kind=import"
CLASS, STATE = "class_and_ctor_args.pkl", "module_state"
MODULES = "learner_group/learner/rl_module"  # of an algorithm's checkpoint
MAX_BYTES = 1 << 30  # of a module's weights
_PACKAGES = ("ray.rllib", "gymnasium", "numpy", "torch")


class Weights:
    """A module's parameters by name. Each one that is taken is counted, so that none is overlooked."""

    def __init__(self, arrays: Mapping[str, Array], path: Path) -> None:
        self._arrays, self._path = dict(arrays), path

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return a parameter as float32; InputError if there is none, or it has another shape."""
        found = self._arrays.pop(name, None)
        if found is None:
            raise InputError(f"{self._path}: has no parameter {name}; {OWN} if the network is your own")
        if found.shape != shape:
            raise InputError(f"{self._path}: {name} has shape {found.shape}, its settings say {shape}; {AGAIN}")
        return found.astype(np.float32)

    def require_used(self, apart: tuple[str, ...]) -> None:
        """Raise InputError if a parameter is left that is not under one of the names `apart`."""
        left = [name for name in self._arrays if not any(f"{name}.".startswith(f"{part}.") for part in apart)]
        if left:
            raise InputError(f"{self._path}: parameters {', '.join(left[:3])[:200]} are not part of a supported network: {OWN}")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a module's folder holds."""

    path: Path
    module: str  # its class, module.name
    catalog: str  # the class that chose the network; may be empty: the module's default
    settings: Mapping[str, Any]  # its model_config; keys that are left out have RLlib's defaults
    observation: spaces.Space[Any]  # what the module sees, behind its connectors
    action: spaces.Space[Any]
    weights: Weights


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the module of a checkpoint.

    Args:
        path: the folder of an algorithm's checkpoint, of its modules, or of one module.

    Raises:
        InputError: it holds no module or several, is damaged, needs unpickling, or names classes of other packages.
    """
    folder = find_module(path)
    kwargs, module = read_class(folder)
    where = f"{folder / CLASS}"
    settings = kwargs.get("model_config")
    settings = getattr(settings, "state", settings) or {}
    if not isinstance(settings, Mapping):
        raise InputError(f"{where}: its model_config is a {type(settings).__name__}; {AGAIN}")
    return Checkpoint(
        path=folder,
        module=module,
        catalog=getattr(kwargs.get("catalog_class"), "origin", ""),
        settings=settings,
        observation=space_of(kwargs.get("observation_space"), f"{where}: its observation_space", AGAIN),
        action=space_of(kwargs.get("action_space"), f"{where}: its action_space", AGAIN),
        weights=_weights(folder / f"{STATE}.msgpack"),
    )


def find_module(path: Path) -> Path:
    """Return the folder of the checkpoint's only module; InputError if there is none, or more than one."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; set expert.path to an RLlib checkpoint")
    for place in (path / MODULES, path / "rl_module", path):
        modules = sorted(folder.parent for folder in place.glob(f"*/{CLASS}") if _has_state(folder.parent))
        if len(modules) > 1:
            names = ", ".join(folder.name for folder in modules)
            raise InputError(f"{place}: holds the modules {names}; set expert.path to the folder of one")
        found = modules[0] if modules else place
        if _has_state(found):
            return _readable(found)
    old = any((path / name).exists() for name in ("policies", "policy_state.pkl", "rllib_checkpoint.json"))
    what = "a checkpoint of RLlib's old API stack, or without a module" if old else "not a checkpoint of RLlib"
    raise InputError(f"{path}: {what}: there is no {STATE}.msgpack; {AGAIN}")


def read_class(folder: Path) -> tuple[Mapping[str, Any], str]:
    """Return the arguments of the object that was saved in `folder`, with records in place of objects, and its class.

    Positional arguments are under their index. InputError if the file is missing, damaged, or names classes of other packages.
    """
    path = folder / CLASS
    data = read_bytes(path, pickles.MAX_BYTES)
    try:
        content = pickles.read(data, str(path), packages=_PACKAGES)
    except InputError as error:
        raise InputError(f"{error}, or {OWN}") from None
    try:
        args, kwargs = content["ctor_args_and_kwargs"]
        origin = content["class"].origin
        return {**{str(index): value for index, value in enumerate(args)}, **kwargs}, origin
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path}: does not say what was saved; {AGAIN}") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the bytes of a checkpoint's file; InputError if it is missing or larger than `limit`."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; copy the whole checkpoint")
    if path.stat().st_size > limit:
        raise InputError(f"{path}: {path.stat().st_size} bytes; the limit for such a file is {limit}")
    return path.read_bytes()


def _has_state(folder: Path) -> bool:
    return any((folder / f"{STATE}{suffix}").is_file() for suffix in (".msgpack", ".pkl"))


def _readable(folder: Path) -> Path:
    if not (folder / f"{STATE}.msgpack").is_file():
        raise InputError(f"{folder / STATE}.pkl: a pickle, which is not read because it can run code; {AGAIN}")
    return folder


def _weights(path: Path) -> Weights:
    try:
        state = unpack(read_bytes(path, MAX_BYTES))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: refused, not plain weights: {' '.join(str(error).split())[:200]}; {AGAIN}") from None
    if not isinstance(state, dict) or not all(map(_is_parameter, state.items())):
        raise InputError(f"{path}: refused, not plain weights by name; {AGAIN}")
    return Weights(state, path)


def _is_parameter(item: tuple[Any, Any]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, np.ndarray) and value.dtype.kind == "f"

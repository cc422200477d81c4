"""Configuration and construction of the RLlib expert: module, connectors, spaces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import spaces

from distil import content
from distil.content import Content
from distil.errors import InputError
from distil.experts.base import Checked, Expert, check_spaces
from distil.experts.common import OneExpertConfig
from distil.experts.inputs import width
from distil.experts.rllib.architecture import read_architecture
from distil.experts.rllib.checkpoint import CLASS, STATE, Checkpoint, find_module, read_checkpoint
from distil.experts.rllib.connectors import Connectors, find_connectors, read_connectors
from distil.experts.rllib.expert import RllibExpert
from distil.spaces import Leaf, SpaceSpec, action_spec, observation_spec

if TYPE_CHECKING:
    from distil.envs import EnvConfig, EnvSpec

_WHOLE = "set expert.path to the algorithm's whole checkpoint, which has its connectors"


class RllibExpertConfig(OneExpertConfig):
    """An MLP policy of RLlib's PPO, IMPALA, APPO or SAC (new API stack), saved as msgpack."""

    kind: Literal["rllib"] = "rllib"
    path: str  # the folder of an algorithm's checkpoint, or of one module in it
    normalize_actions: bool | None = None  # of a module that was saved alone: RLlib's setting in its training

    def content(self, env: EnvConfig) -> Content:
        """Return its content: the module's files and those of its connectors."""
        module = find_module(Path(self.path))
        connectors = find_connectors(module)
        files = sorted(path for path in connectors.glob("*_connector/**/*") if path.is_file()) if connectors else []
        return content.of_files(module / CLASS, module / f"{STATE}.msgpack", *files)

    def build(self, env: EnvConfig, spec: EnvSpec) -> Expert:
        """Return the expert.

        The files are read as data: nothing in them is executed, and neither torch nor Ray is imported.

        Raises:
            InputError: a file is missing, damaged, unsafe or needs unpickling, or the spaces do not fit (both are named).
        """
        checkpoint = read_checkpoint(Path(self.path))
        architecture = read_architecture(checkpoint)
        name = f"rllib {self.path}"
        connectors = self._connectors(name, checkpoint, spec)
        has = (spec.observation, spec.action)
        check_spaces(name, (observation_spec(connectors.observation), action_spec(connectors.action)), has)
        inputs = _inputs(name, checkpoint, connectors, spec.observation)
        if any(leaf.start for leaf in (*inputs, spec.action.leaf)):
            raise InputError(
                f"expert {name}: RLlib counts choices from 0, not from the space's start; wrap it: expert.kind=import"
            )
        _check_bounds(name, connectors.action, spec.action.leaf)
        bounded = spec.action.leaf.kind == "box" and all(np.isfinite(bound).all() for bound in spec.action.leaf.bounds())
        statistics, rescales = connectors.statistics, connectors.rescales and bounded
        expert = RllibExpert(name, architecture, inputs, spec.action.leaf, statistics=statistics, rescales=rescales)
        return Checked(expert, spec.action)

    def _connectors(self, name: str, checkpoint: Checkpoint, spec: EnvSpec) -> Connectors:
        folder = find_connectors(checkpoint.path)
        if folder is not None:
            if self.normalize_actions is not None:
                raise InputError(f"expert {name}: the checkpoint says whether actions are rescaled; remove normalize_actions")
            return read_connectors(folder)
        return Connectors(
            observation=_seen(name, checkpoint, spec.observation),
            action=checkpoint.action,
            flattens=False,
            rescales=self._rescales(name, checkpoint.action),
            statistics=None,
        )

    def _rescales(self, name: str, action: spaces.Space[Any]) -> bool:
        if self.normalize_actions is None and isinstance(action, spaces.Box) and (abs(action.low) != 1).any():
            raise InputError(
                f"expert {name}: a module alone doesn't say whether RLlib rescaled its actions: set expert.normalize_actions "
                f"(RLlib's default is true), or {_WHOLE}"
            )
        return self.normalize_actions is not False


def _seen(name: str, checkpoint: Checkpoint, has: SpaceSpec) -> spaces.Space[Any]:
    """Return the observation space of a module that was saved alone; InputError if its bounds hint at connectors."""
    space = checkpoint.observation
    spec = observation_spec(space)
    if spec.describe() == has.describe() and not all(
        np.allclose(a, b, rtol=1e-5) for a, b in zip(spec.leaf.bounds(), has.leaf.bounds(), strict=True)
    ):
        raise InputError(
            f"expert {name}: its observations have other bounds than the environment's, as behind a filter; {_WHOLE}"
        )
    return space


def _inputs(name: str, checkpoint: Checkpoint, connectors: Connectors, has: SpaceSpec) -> tuple[Leaf, ...]:
    """Return the environment's leaves in the order in which they enter the network."""
    leaves = tuple(sorted(has.leaves, key=lambda leaf: leaf.name))
    is_vector = has.tree == "obs" and has.leaf.kind == "box" and len(has.leaf.shape) == 1
    if not is_vector and not connectors.flattens:
        raise InputError(f"expert {name}: observations {has.describe()} need RLlib's FlattenObservations, and it has none")
    sizes = sum(map(width, leaves)), checkpoint.observation.shape[0]
    if sizes[0] != sizes[1]:
        raise InputError(f"expert {name}: its network has {sizes[1]} inputs, the environment's observations {sizes[0]} numbers")
    statistics = connectors.statistics
    if statistics is not None and not (
        is_vector and statistics.mean["obs"].shape == has.leaf.shape and has.leaf.dtype[0] == "f"
    ):
        raise InputError(f"expert {name}: its MeanStdFilter is of another vector than {has.describe()}; use a whole checkpoint")
    return leaves


def _check_bounds(name: str, trained: spaces.Space[Any], has: Leaf) -> None:
    """Refuse an environment whose actions have other units than those of the policy's training."""
    if not isinstance(trained, spaces.Box):
        return
    pairs = (trained.low, trained.high), has.bounds()
    if not all(np.allclose(a, b, rtol=1e-5) for a, b in zip(*pairs, strict=True)):
        ranges = [f"{low.min():g} to {high.max():g}" for low, high in pairs]
        raise InputError(
            f"expert {name}: trained with actions from {ranges[0]}; those of the environment are from {ranges[1]}; "
            "add or remove the wrapper that rescales them"
        )

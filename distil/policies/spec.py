"""A policy as plain data: what it is (`PolicySpec`) and one version of its weights (`PolicyRef`). Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distil.config import validate
from distil.errors import InputError
from distil.heads.config import AutoHeadConfig, ResolvedHeadConfig, with_bound
from distil.policies.config import AutoEncoderConfig, PolicyConfig, ResolvedEncoderConfig
from distil.spaces import Leaf, SpaceSpec, space_from_json
from distil.types import Array

_KINDS = ("box", "discrete", "multi_discrete", "multi_binary")


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """What rebuilds a policy, besides its weights."""

    config: PolicyConfig  # every `auto` is resolved
    observation: SpaceSpec
    action: SpaceSpec

    @property
    def encoder(self) -> ResolvedEncoderConfig:
        """The encoder's configuration."""
        assert not isinstance(self.config.encoder, AutoEncoderConfig)
        return self.config.encoder

    @property
    def head(self) -> ResolvedHeadConfig:
        """The head's configuration."""
        assert not isinstance(self.config.head, AutoHeadConfig)
        return self.config.head

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `PolicySpec.from_json` reads it back."""
        return {
            "config": self.config.model_dump(mode="json"),
            "observation": self.observation.to_json(),
            "action": self.action.to_json(),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PolicySpec:
        """Return the spec that `to_json` wrote, now or in an earlier version: keys that it left out have their defaults.

        Raises:
            InputError: a key is unknown or has a wrong value, or a space is not one that distil writes.
        """
        config = validate(PolicyConfig, with_bound(data["config"]), "its config")
        observation, action = spaces_of(data)
        return PolicySpec(config=config.resolve(observation, action), observation=observation, action=action)


@dataclass(frozen=True, kw_only=True)
class PolicyRef:
    """A version of a policy as plain data: cheap to send to workers, needs neither torch nor pickle to read."""

    version: int
    spec: PolicySpec
    arrays: Mapping[str, Array] = field(repr=False)  # named weights and statistics


def spaces_of(data: Mapping[str, Any]) -> tuple[SpaceSpec, SpaceSpec]:
    """Return the observation and the action space of a header; InputError if they are not ones that distil writes."""
    observation, action = _space(data, "observation"), _space(data, "action")
    if len(action.leaves) != 1 or (not action.leaf.shape == () and min(action.leaf.shape) < 1):
        raise InputError(f"its action space is {action.describe()}, not one of numbers; copy it again or retrain")
    return observation, action


def _space(data: Mapping[str, Any], name: str) -> SpaceSpec:
    try:
        space = space_from_json(data[name])
        names = list(_names(space.tree))
        good = names == [leaf.name for leaf in space.leaves] and len(set(names)) == len(names) > 0
        if not good or not all(map(_is_leaf, space.leaves)):
            raise ValueError("its tree and leaves differ")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"its {name} space makes no sense ({type(error).__name__}); copy it again or retrain") from None
    return space


def _names(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        (parts,) = tree.values()
        for part in parts.values() if "dict" in tree else parts:
            yield from _names(part)


def _is_leaf(leaf: Leaf) -> bool:
    size = math.prod(leaf.shape)
    if (
        leaf.kind not in _KINDS
        or abs(leaf.start) >= 1 << 62
        or min(leaf.shape, default=1) < 0
        or np.dtype(leaf.dtype).kind not in "fiub"
    ):
        return False
    if leaf.kind == "box":
        return len(leaf.low) in (1, size) and len(leaf.high) in (1, size)
    return len(leaf.nvec) == size and min(leaf.nvec, default=1) > 0

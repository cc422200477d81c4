"""What a policy's file says of itself, checked against its arrays before anything is allocated for it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from distil.config import validate
from distil.errors import InputError
from distil.policies.config import CnnConfig, PolicyConfig
from distil.spaces import Leaf, SpaceSpec, space_from_json
from distil.types import Array

FORMAT = 1
_KINDS = ("box", "discrete", "multi_discrete", "multi_binary")
_MAX_PIXELS = 1 << 26  # of one image


def read_header(text: str, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return the header of a policy's file: `version`, `spec` and `digest`.

    Raises:
        InputError: it makes no sense, is of another format, or describes a larger network than the arrays are of.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its header is no JSON ({type(error).__name__}); copy it again or retrain") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise InputError(f"policy format {str(found)[:20]}, this distil reads {FORMAT}; update distil")
    spec, version = header.get("spec"), header.get("version")
    if not isinstance(spec, dict) or not isinstance(spec.get("config"), dict) or type(version) is not int:
        raise InputError("its header lacks spec, config or version; copy it again or retrain")
    config = validate(PolicyConfig, spec["config"], "its config")
    observation, action = _space(spec, "observation"), _space(spec, "action")
    if len(action.leaves) != 1 or (not action.leaf.shape == () and min(action.leaf.shape) < 1):
        raise InputError(f"its action space is {action.describe()}, not one of numbers; copy it again or retrain")
    num = sum(value.size for value in arrays.values())
    for what, size in _sizes(config, observation, action.leaf, arrays):
        if not size <= num:
            raise InputError(f"its {what} asks for {size} numbers, the file has {num}; copy it again or retrain")
    return {**header, "spec": {**spec, "config": config.model_dump(mode="json")}}  # what an earlier version left out is there


def _sizes(
    config: PolicyConfig, observation: SpaceSpec, action: Leaf, arrays: Mapping[str, Array]
) -> Iterator[tuple[str, int]]:
    """Yield what the configuration asks for that can't be more than the numbers of all arrays together."""
    encoder, images = config.encoder, 0
    for leaf in observation.leaves:
        if isinstance(encoder, CnnConfig) and leaf.is_image:
            images += 1
            pixels = math.prod(leaf.shape)
            yield f"observation {leaf.name}", pixels if pixels > _MAX_PIXELS else 0
        else:
            yield f"observation {leaf.name}", config.obs_horizon * _width(leaf)
    yield "obs_horizon", config.obs_horizon
    yield "chunk", config.chunk * (math.prod(action.shape) if action.kind == "box" else len(action.nvec) * max(action.nvec))
    yield "ensemble", config.ensemble if config.ensemble > len(arrays) else 0
    widths = (*encoder.channels, encoder.image_features) if isinstance(encoder, CnnConfig) and images else ()
    for pair in itertools.pairwise((1, *widths, *encoder.hidden)):
        yield "encoder", math.prod(pair)


def _width(leaf: Leaf) -> int:
    return sum(leaf.nvec) if leaf.kind in ("discrete", "multi_discrete") else math.prod(leaf.shape)


def _space(spec: Mapping[str, Any], name: str) -> SpaceSpec:
    try:
        space = space_from_json(spec[name])
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

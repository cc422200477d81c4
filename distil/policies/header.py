"""What a policy's file says of itself, checked against its arrays before anything is allocated for it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distil.errors import InputError
from distil.heads.config import ImportHeadConfig
from distil.policies.arrayfile import parse
from distil.policies.config import ImportEncoderConfig
from distil.policies.spec import PolicySpec
from distil.spaces import Leaf
from distil.types import Array

FORMAT = 1
_MAX_PIXELS = 1 << 26  # of one image


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a policy's file says of the policy."""

    version: int
    spec: PolicySpec
    digest: Any  # of the arrays

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `read_header` reads it back."""
        return {"format": FORMAT, "version": self.version, "spec": self.spec.to_json(), "digest": self.digest}


def read_header(text: str, arrays: Mapping[str, Array], trust: Sequence[str] = ()) -> Header:
    """Return the header of a policy's file, checked.

    Nothing that the header names is imported.

    Args:
        text: the header's JSON.
        arrays: of the file.
        trust: the user's own classes, modules or packages that the policy may name.

    Raises:
        InputError: it makes no sense, is of another format, names code that is not trusted, or describes a larger network than
            the arrays are of.
    """
    header = parse(text, "policy", FORMAT)
    spec, version = header.get("spec"), header.get("version")
    if not isinstance(spec, dict) or not isinstance(spec.get("config"), dict) or type(version) is not int:
        raise InputError("its header lacks spec, config or version; copy it again or retrain")
    known = PolicySpec.from_json(spec)
    require_trusted(known, trust, "policy")
    require_small(sizes(known, arrays), arrays)
    return Header(version=version, spec=known, digest=header.get("digest"))


def require_trusted(spec: PolicySpec, trust: Sequence[str], what: str) -> None:
    """Raise InputError if a policy names code to import that the caller doesn't trust; `what` is what holds the policy."""
    for target in spec.config.targets:
        if not any(target == name or re.match(rf"{re.escape(name)}[.:]", target) for name in trust):
            module = target.partition(":")[0]
            raise InputError(f"it names code to import, {target!r}; if you trust it, load the {what} with trust=[{module!r}]")


def require_small(asked: Iterable[tuple[str, int]], arrays: Mapping[str, Array]) -> None:
    """Raise InputError if a part that a header describes, by name and size, has more numbers than all arrays together."""
    num = sum(value.size for value in arrays.values())
    for what, size in asked:
        if not size <= num:
            raise InputError(f"its {what} asks for {size} numbers, the file has {num}; copy it again or retrain")


def sizes(spec: PolicySpec, arrays: Mapping[str, Array]) -> Iterator[tuple[str, int]]:
    """Yield what the configuration asks for that can't be more than the numbers of all arrays together."""
    config, action = spec.config, spec.action.leaf
    encoder, images = spec.encoder, 0
    yield "ensemble", config.ensemble if config.ensemble > len(arrays) else 0
    if not isinstance(spec.head, ImportHeadConfig):  # what a trusted class needs, it alone knows
        size = config.chunk * (math.prod(action.shape) if action.kind == "box" else len(action.nvec) * max(action.nvec))
        yield "chunk", size
        yield "head", spec.head.least_weights(size)
    if isinstance(encoder, ImportEncoderConfig):
        return
    frames = config.obs_horizon if encoder.flattens else 1
    for leaf in spec.observation.leaves:
        if encoder.sees_images and leaf.is_image:
            images += 1
            pixels = math.prod(leaf.shape)
            yield f"observation {leaf.name}", pixels if pixels > _MAX_PIXELS else 0
        else:
            yield f"observation {leaf.name}", frames * width(leaf)
    yield "obs_horizon", config.obs_horizon
    yield "encoder", encoder.least_weights(images > 0)


def width(leaf: Leaf) -> int:
    """Return the number of features of a leaf that is read as numbers."""
    return sum(leaf.nvec) if leaf.kind in ("discrete", "multi_discrete") else math.prod(leaf.shape)

"""How an ensemble acts and doubts, in numpy: its members' forward passes, combined as their head says (no torch).

Legend: M members, N environments, H observation horizon, T action chunk, A action dimension (or factor).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from distil.errors import InputError
from distil.heads.combine import Combined
from distil.policies.spec import PolicyRef
from distil.types import Array

_PREFIX = "members."
_SHARED = "actions."


class Planner(Protocol):
    """The network's forward pass for N rows."""

    @property
    def noise_kind(self) -> str:
        """What samples are drawn with: "none", "normal" or "uniform"."""

    @property
    def noise_size(self) -> int:
        """K, numbers a sample."""

    @property
    def doubt(self) -> Array | None:
        """The doubt [N, T] of the last plan, an array of its own; None for a single network."""

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A] of windows [N, H, ...]; they may live in a buffer that is used again."""


def members(ref: PolicyRef) -> list[PolicyRef]:
    """Return each member as a policy by itself.

    Raises:
        InputError: the arrays aren't those of as many members as the spec says.
    """
    num = ref.spec.config.ensemble
    own = {name for name in ref.arrays if not name.startswith(_PREFIX)}
    networks = {name for name in own if not name.startswith(_SHARED)}
    wanted = own | {f"{_PREFIX}{i}.{name}" for i in range(1, num) for name in networks}
    for name in sorted(wanted ^ ref.arrays.keys()):
        found = "something" if name in ref.arrays else "nothing"
        raise InputError(f"policy weights {name}: found {found} in an ensemble of {num}; use the config that made them")
    alone = replace(ref, spec=replace(ref.spec, config=ref.spec.config.model_copy(update={"ensemble": 1})))
    first = {name: ref.arrays[name] for name in own}
    others = [{name: ref.arrays[f"{_PREFIX}{i}.{name}"] for name in networks} for i in range(1, num)]
    return [replace(alone, arrays=first | other) for other in ({}, *others)]


class EnsemblePlanner:
    """The members' planners as one. Its samples are of the mixture of the members: of one that the noise chooses."""

    def __init__(self, planners: Sequence[Planner], combine: Callable[[Array], Combined]) -> None:
        """Combine `planners`, all for the same N rows, by the head's own `combine`."""
        self._planners, self._combine = planners, combine
        kind = planners[0].noise_kind
        self.noise_kind = "uniform" if kind == "none" else kind
        self.noise_size = planners[0].noise_size + 1  # the last number chooses the member
        self.doubt: Array | None = None

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A] of windows [N, H, ...], a new array: the members' combined, or a sample of theirs."""
        points = np.stack([planner.plan(windows, None) for planner in self._planners])
        actions, self.doubt = self._combine(points)
        if noise is None:
            return actions
        from scipy.special import ndtr  # a single network needs no scipy, which takes a while to import

        chance = ndtr(noise[:, -1]) if self.noise_kind == "normal" else noise[:, -1]
        chosen = np.minimum((chance * len(points)).astype(np.int64), len(points) - 1)
        if self.noise_size > 1:
            own = np.ascontiguousarray(noise[:, :-1])
            points = np.stack([planner.plan(windows, own) for planner in self._planners])
        out: Array = points[chosen, np.arange(len(chosen))]
        return out

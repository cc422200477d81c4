"""How an ensemble acts and doubts, in numpy: its members' forward passes, combined (no torch).

Boxes act by the mean of the members' modes, and doubt is their standard deviation, both in the head's space, where half of the
action range is 1 (Menda et al., 2019, "EnsembleDAgger", whose doubt is the variance). The other spaces act by majority, and
doubt is the share of members that voted for something else.

Legend: M members, N environments, H observation horizon, T action chunk, A action dimension (or factor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from distil.errors import InputError
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
    """The members' planners as one, which is deterministic: their mean, or their majority."""

    noise_kind, noise_size = "none", 0

    def __init__(self, planners: Sequence[Planner], *, continuous: bool) -> None:
        """Combine `planners`, all for the same N rows; `continuous` actions are averaged, others voted on."""
        self._planners = planners
        self._combine = mean if continuous else vote
        self.doubt: Array | None = None

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A] of windows [N, H, ...], a new array."""
        assert noise is None
        actions, self.doubt = self._combine(np.stack([planner.plan(windows, None) for planner in self._planners]))
        return actions


def mean(modes: Array) -> tuple[Array, Array]:
    """Return the mean [N, T, A] of the members' actions [M, N, T, A], and the doubt [N, T] float32.

    The doubt is the standard deviation over the members, averaged over the action's dimensions.
    """
    centre = modes.mean(0)
    deviation = np.sqrt(np.square(modes - centre).mean(0))
    return centre, deviation.mean(-1, dtype=np.float32)


def vote(choices: Array) -> tuple[Array, Array]:
    """Return the choice [N, T, A] of most members among theirs [M, N, T, A], and the doubt [N, T] float32.

    Of a tie, the lowest. The doubt is the share of members that voted for another one, averaged over the action's factors.
    """
    num_alike = (choices[:, None] == choices).sum(1)
    most = num_alike.max(0)
    chosen = np.where(num_alike == most, choices, np.iinfo(choices.dtype).max).min(0)
    return chosen, (1 - most / len(choices)).mean(-1, dtype=np.float32)

"""The Expert protocol, and the check that stands between any expert and the environments.

Legend: N environments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from distil.errors import InputError, RunError
from distil.spaces import Leaf, SpaceSpec
from distil.types import Array, Labels, Observations

_FRACTION = 1e-3  # of a choice that is a float: rounding errors are no fraction


class Expert(Protocol):
    """Answers what to do in each of N environments at once.

    An expert is plain data and numpy: it can be pickled, so it is built once and shipped to the workers.

    Attributes:
        name: for reports and errors, such as `scripted lunarlander`.
        needs_env: reads the simulator's state, so `act` wants `envs`.
        stateful: its answer depends on the steps before, so it must see every step of an episode in order, after `begin`.
        by_row: (optional, default False) `act` may be given any rows: an answer depends on its own row alone. It is then asked
            only about rows that matter; otherwise about all N slots at each step. Not for stateful experts.
    """

    name: str
    needs_env: bool
    stateful: bool

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`, reset with `seed`. Does nothing for a stateless expert."""

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return actions for the leaves [N, ...] of N observations, in the action space's dtype and bounds.

        The returned arrays are the caller's: a later call doesn't change them.
        """


class Stateless:
    """Base of the experts that need neither the simulator nor the steps before."""

    needs_env = False
    stateful = False

    def begin(self, slot: int, seed: int) -> None:
        """Do nothing."""


class Checked:
    """An expert whose answers are checked, clipped to the action space's bounds and cast to its dtype.

    For a box of integers, numbers with a fraction are rounded. As choices, only whole numbers are taken, of any numeric dtype.

    Args:
        expert: the one to check.
        action: the environment's action space.
    """

    def __init__(self, expert: Expert, action: SpaceSpec) -> None:
        self.name, self.needs_env, self.stateful = expert.name, expert.needs_env, expert.stateful
        self.by_row: bool = getattr(expert, "by_row", False)
        self._expert, self._leaf, self._wanted = expert, action.leaf, action.describe()
        self._dtype = np.dtype(self._leaf.dtype)
        self._low, self._high = _limits(self._leaf)

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`."""
        self._expert.begin(slot, seed)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the expert's answers.

        Raises:
            RunError: an answer of the wrong shape or type, NaN or infinite, or no choice of a discrete space.
        """
        labels = self._shaped(observations, envs)
        bad = self._bad(labels.actions)
        if (bad & labels.mask).any():
            row = int(np.flatnonzero(bad & labels.mask)[0])
            wanted = "finite numbers" if self._leaf.kind == "box" else f"{self._low.tolist()} to {self._high.tolist()}"
            raise self._fault(f"{labels.actions[row].tolist()} in row {row}", wanted)
        return self._cast(labels.actions, labels.mask, bad)

    def label(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the expert's answers; one that is NaN, infinite, or no choice of a discrete space counts as none.

        Raises:
            RunError: answers of the wrong shape or type.
        """
        labels = self._shaped(observations, envs)
        bad = self._bad(labels.actions)
        return self._cast(labels.actions, labels.mask & ~bad, bad)

    def _shaped(self, observations: Observations, envs: Sequence[Any] | None) -> Labels:
        num = len(next(iter(observations.values())))
        labels = self._expert.act(observations, envs=envs)
        actions, mask = labels.actions, labels.mask
        shape = (num, *self._leaf.shape)
        if actions.shape != shape:
            raise self._fault(f"actions of shape {actions.shape}", f"{shape}")
        if mask.shape != (num,) or mask.dtype != np.bool_:
            raise self._fault(f"a mask of shape {mask.shape} {mask.dtype}", f"({num},) bool")
        if actions.dtype.kind not in ("fiu" if self._leaf.kind == "box" else "fiub"):
            raise self._fault(f"actions of dtype {actions.dtype}", "numbers" if self._leaf.kind == "box" else "integers")
        if actions.dtype.kind == "f" and self._dtype.kind != "f":
            return Labels(actions=self._whole(actions, mask), mask=mask)
        return labels

    def _whole(self, actions: Array, mask: Array) -> Array:
        """Return float answers as whole numbers; RunError for a choice with a fraction."""
        if self._leaf.kind != "box":
            finite = np.where(np.isfinite(actions), actions, 0)
            apart = np.abs(finite - np.rint(finite)) > _FRACTION
            rows = np.flatnonzero(apart.reshape(len(actions), -1).any(axis=1) & mask)
            if len(rows):
                raise self._fault(f"{actions[rows[0]].tolist()} in row {rows[0]}", "integers")
        whole: Array = np.rint(actions)
        return whole

    def _bad(self, actions: Array) -> Array:
        """Return which rows [N] are no actions. A finite number outside a box is one: it is clipped."""
        good = np.isfinite(actions) if self._leaf.kind == "box" else (actions >= self._low) & (actions <= self._high)
        return np.logical_not(good.reshape(len(actions), -1).all(axis=1))

    def _cast(self, actions: Array, mask: Array, bad: Array) -> Labels:
        if actions.dtype.kind == "f" and bad.any():
            actions = np.where(bad.reshape(-1, *[1] * (actions.ndim - 1)), 0, actions)
        clipped = np.clip(actions, self._low, self._high)
        if clipped.dtype.kind == "f" and self._dtype.kind in "iu":  # a float64 may round the widest bounds up
            inside = np.where((clipped > self._low) & (clipped < self._high), clipped, 0).astype(self._dtype)
            clipped = np.where(clipped >= self._high, self._high, np.where(clipped <= self._low, self._low, inside))
        return Labels(actions=clipped.astype(self._dtype, copy=False), mask=mask)

    def _fault(self, came: str, wanted: str) -> RunError:
        return RunError(f"expert {self.name}: returned {came}, wanted {wanted} for {self._wanted}; fix the expert")


def act(expert: Expert, observations: Observations, *, envs: Sequence[Any] | None = None, live: Array | None = None) -> Labels:
    """Return what the expert does at the leaves [N, ...]; rows that aren't live get any action of the space.

    Args:
        expert: who acts.
        observations: leaf name -> [N, ...].
        envs: the simulators, if it reads them.
        live: [N] bool, which rows have an episode under way; None: all. It sees no other: one that answers `by_row` is given
            these alone, any other gets a copy of a live row in place of each idle one, since its row is its slot.
    """
    return _ask(expert.act, expert, observations, envs, live, live)


def label(
    expert: Expert,
    observations: Observations,
    *,
    envs: Sequence[Any] | None = None,
    live: Array | None = None,
    rows: Array | None = None,
) -> Labels:
    """Return the expert's labels for the leaves [N, ...]: as it acts, but an answer that is no action counts as none.

    Args:
        expert: who is asked.
        observations: leaf name -> [N, ...].
        envs: the simulators, if it reads them.
        live: see `act`.
        rows: [N] bool, which of the live rows want a label; None: all. Who answers `by_row` is asked about these alone.
    """
    ask = getattr(expert, "label", expert.act)
    return _ask(ask, expert, observations, envs, live, live if rows is None else rows if live is None else rows & live)


def _ask(
    ask: Callable[..., Labels],
    expert: Expert,
    observations: Observations,
    envs: Sequence[Any] | None,
    live: Array | None,
    rows: Array | None,
) -> Labels:
    """Return answers for N rows; the mask is False where not in `rows` [N] bool."""
    by_row = getattr(expert, "by_row", False)
    seen = rows if by_row else live
    if seen is None or seen.all():
        labels = ask(observations, envs=envs)
        return labels if rows is None else Labels(actions=labels.actions, mask=labels.mask & rows)
    assert rows is not None
    chosen = np.flatnonzero(seen)
    given = chosen if by_row else np.where(seen, np.arange(len(seen)), chosen[0])
    shown = None if envs is None else [envs[row] for row in given.tolist()]
    labels = ask({name: values[given] for name, values in observations.items()}, envs=shown)
    if not by_row:
        return Labels(actions=labels.actions, mask=labels.mask & rows)
    actions = np.repeat(labels.actions[:1], len(seen), axis=0)
    actions[chosen] = labels.actions
    mask = np.zeros(len(seen), np.bool_)
    mask[chosen] = labels.mask
    return Labels(actions=actions, mask=mask)


def _limits(leaf: Leaf) -> tuple[Array, Array]:
    """Return the smallest and largest action, each of the action's shape."""
    if leaf.kind == "box":
        low, high = leaf.bounds()
        if np.dtype(leaf.dtype).kind not in "iu":
            return low.astype(leaf.dtype), high.astype(leaf.dtype)
        info = np.iinfo(leaf.dtype)  # whose ends a float64 may round away from
        ends = (np.clip(end, float(info.min), float(info.max)).ravel().tolist() for end in (low, high))
        low, high = (np.array([min(int(v), info.max) for v in end], leaf.dtype).reshape(leaf.shape) for end in ends)
        return low, high
    low = np.full(leaf.shape, leaf.start, np.int64)
    return low, low + np.asarray(leaf.nvec, np.int64).reshape(leaf.shape) - 1


def every(num: int) -> Array:
    """Return the mask of `num` valid answers, [N] bool."""
    return np.ones(num, np.bool_)


def check_spaces(name: str, wants: tuple[SpaceSpec, SpaceSpec], has: tuple[SpaceSpec, SpaceSpec]) -> None:
    """Raise InputError, naming both, unless the observation and action spaces `has` are those that the expert `wants`.

    Bounds and the width of floats may differ; names, kinds, shapes and numbers of choices may not.
    """
    for what, want, have in zip(("observations", "actions"), wants, has, strict=True):
        if _key(want) != _key(have):
            raise InputError(
                f"expert {name}: made for {what} {want.describe()}, the environment has {have.describe()}; "
                "choose an expert for this environment"
            )


def _key(space: SpaceSpec) -> list[tuple[Any, ...]]:
    return [(leaf.name, leaf.kind, leaf.shape, leaf.nvec, leaf.start) for leaf in space.leaves]

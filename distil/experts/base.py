"""The Expert protocol, and the check between every expert and the environments.

Legend: N environments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from distil.errors import InputError, RunError
from distil.spaces import Leaf, SpaceSpec
from distil.types import Array, Labels, Observations

_FRACTION = 1e-3  # tolerance for float choices: smaller fractions are rounding errors


class Expert(Protocol):
    """Returns actions for N environments at once.

    An expert is plain data and numpy: it can be pickled, so it is built once and shipped to the workers.

    Attributes:
        name: for reports and errors, such as `scripted lunarlander`.
        needs_env: the expert reads the simulator's state, so `act` requires `envs`.
        stateful: an action depends on earlier steps, so the expert must see every step of an episode in order, after `begin`.
        by_row: (optional, default False) each action depends only on its own row, so `act` accepts any subset of rows. The
            expert is then asked only about the rows needed; otherwise about all N slots at each step. Not for stateful experts.
    """

    name: str
    needs_env: bool
    stateful: bool

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in row `slot`, reset with `seed`. Does nothing for a stateless expert."""

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return actions for the leaves [N, ...] of N observations, in the action space's dtype and bounds.

        The caller owns the returned arrays: later calls do not change them.
        """


class Stateless:
    """Base of the experts that need neither the simulator nor earlier steps."""

    needs_env = False
    stateful = False

    def begin(self, slot: int, seed: int) -> None:
        """Do nothing."""


class Checked:
    """An expert whose actions are checked, clipped to the action space's bounds and cast to its dtype.

    Fractions are rounded for a box of integers. Choices must be whole numbers, of any numeric dtype.

    Args:
        expert: the expert to check.
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
        """Return the expert's actions.

        Raises:
            RunError: an action has the wrong shape or type, is NaN or infinite, or is not a choice of the discrete space.
        """
        labels = self._shaped(observations, envs)
        bad = self._bad(labels.actions)
        if (bad & labels.mask).any():
            row = int(np.flatnonzero(bad & labels.mask)[0])
            wanted = "finite numbers" if self._leaf.kind == "box" else f"{self._low.tolist()} to {self._high.tolist()}"
            raise self._fault(f"{labels.actions[row].tolist()} in row {row}", wanted)
        return self._cast(labels.actions, labels.mask, bad)

    def label(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the expert's labels; one that is NaN, infinite, or not a choice of the discrete space is masked out.

        Raises:
            RunError: the labels have the wrong shape or type.
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
        """Return float choices as whole numbers; RunError for a choice with a fraction."""
        if self._leaf.kind != "box":
            finite = np.where(np.isfinite(actions), actions, 0)
            apart = np.abs(finite - np.rint(finite)) > _FRACTION
            rows = np.flatnonzero(apart.reshape(len(actions), -1).any(axis=1) & mask)
            if len(rows):
                raise self._fault(f"{actions[rows[0]].tolist()} in row {rows[0]}", "integers")
        whole: Array = np.rint(actions)
        return whole

    def _bad(self, actions: Array) -> Array:
        """Return which rows [N] are not valid actions. A finite number outside a box is valid: it is clipped."""
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
        return RunError(f"expert {self.name}: returned {came}, expected {wanted} for {self._wanted}; fix the expert")


def act(expert: Expert, observations: Observations, *, envs: Sequence[Any] | None = None, live: Array | None = None) -> Labels:
    """Return the expert's actions for the leaves [N, ...]; idle rows get an arbitrary action of the space.

    Args:
        expert: the acting expert.
        observations: leaf name -> [N, ...].
        envs: the simulators, if the expert reads them.
        live: [N] bool, which rows have an episode in progress; None: all. The expert never sees idle rows: a `by_row` expert
            gets only the live ones; any other gets a copy of a live row in place of each idle one, since rows are slots.
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
    """Return the expert's labels for the leaves [N, ...], as `act` does, but invalid actions are masked out.

    Args:
        expert: the labelling expert.
        observations: leaf name -> [N, ...].
        envs: the simulators, if the expert reads them.
        live: see `act`.
        rows: [N] bool, which of the live rows need a label; None: all. A `by_row` expert is asked only about these.
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
    """Return labels for N rows; the mask is False outside `rows` [N] bool."""
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
    """Return the smallest and the largest action, each with the shape of an action."""
    if leaf.kind == "box":
        low, high = leaf.bounds()
        if np.dtype(leaf.dtype).kind not in "iu":
            return low.astype(leaf.dtype), high.astype(leaf.dtype)
        info = np.iinfo(leaf.dtype)  # a float64 may round its limits outwards
        ends = (np.clip(end, float(info.min), float(info.max)).ravel().tolist() for end in (low, high))
        low, high = (np.array([min(int(v), info.max) for v in end], leaf.dtype).reshape(leaf.shape) for end in ends)
        return low, high
    low = np.full(leaf.shape, leaf.start, np.int64)
    return low, low + np.asarray(leaf.nvec, np.int64).reshape(leaf.shape) - 1


def every(num: int) -> Array:
    """Return a mask of `num` valid labels, [N] bool."""
    return np.ones(num, np.bool_)


def check_spaces(name: str, wants: tuple[SpaceSpec, SpaceSpec], has: tuple[SpaceSpec, SpaceSpec]) -> None:
    """Raise InputError unless the observation and action spaces `has` match those that the expert `wants`.

    Bounds and the width of floats may differ; names, kinds, shapes and numbers of choices may not. The error names both spaces.
    """
    for what, want, have in zip(("observations", "actions"), wants, has, strict=True):
        if _key(want) != _key(have):
            raise InputError(
                f"expert {name}: made for {what} {want.describe()}; the environment has {have.describe()}; "
                "choose an expert for this environment"
            )


def _key(space: SpaceSpec) -> list[tuple[Any, ...]]:
    return [(leaf.name, leaf.kind, leaf.shape, leaf.nvec, leaf.start) for leaf in space.leaves]

"""Episodes in a few arrays that hold the steps of all of them, row after row: how they are divided, and made into Episodes.

What `Store.add`, .npz and plain HDF5 share. Legend: N steps (actions) of all episodes together, E episodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from distil.errors import InputError
from distil.interchange.episodes import BadEpisodeError, demonstration, fit, join
from distil.interchange.spaces import action_of, leaf_of
from distil.spaces import SpaceSpec
from distil.store.schema import StoreSpec
from distil.types import Array, Episode

Final = Literal["repeat", "drop"]


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Where episodes end and how."""

    ends: Array  # [E] one past the last step of each
    terminated: Array  # [E] bool
    truncated: Array  # [E] bool

    @property
    def starts(self) -> Array:
        """First step of each episode, [E]."""
        return np.concatenate([[0], self.ends[:-1]])


def divide(num: int, *, ends: Any = None, terminated: Any = None, truncated: Any = None, where: str = "") -> Ends:
    """Return where the episodes of `num` steps end.

    Args:
        num: steps of all episodes together, N.
        ends: [E] one past each episode's last step; None: after each step that is terminated or truncated, and at the end.
        terminated: one flag for all episodes, [E] flags of episodes, or [N] flags of steps; None: never.
        truncated: the same; None: episodes that aren't terminated are truncated.
        where: the data, for messages.

    Raises:
        InputError: the ends don't divide the steps, or flags contradict them or are of another length.
    """
    if num < 1:
        raise InputError(f"{where}: it has no steps")
    flags = {name: _flags(value, name, where) for name, value in (("terminated", terminated), ("truncated", truncated))}
    steps = [values for values in flags.values() if values is not None and values.ndim == 1 and len(values) == num]
    if ends is None:
        found = np.flatnonzero(np.any(steps, axis=0)) + 1 if steps else np.zeros(0, np.int64)
        ends = found if found.size and found[-1] == num else np.append(found, num)
    ends = np.asarray(ends)
    if ends.ndim != 1 or not ends.size or ends.dtype.kind not in "iu":
        raise InputError(f"{where}: episode_ends must be [E] whole numbers, one past each episode's last step")
    starts = np.concatenate([[0], ends[:-1]])
    if np.any(ends <= starts):
        at = int(np.argmax(ends <= starts))
        raise InputError(f"{where}: episode_ends must increase; number {at} is {ends[at]} after {starts[at]}")
    if ends[-1] != num:
        raise InputError(f"{where}: episode_ends ends at {ends[-1]}, the actions at {num}")
    chosen = {name: _of_episodes(values, name, ends.astype(np.int64), num, where) for name, values in flags.items()}
    is_terminated = chosen["terminated"] if chosen["terminated"] is not None else np.zeros(len(ends), bool)
    is_truncated = chosen["truncated"] if chosen["truncated"] is not None else ~is_terminated
    if steps:  # an episode that no step's flag ends was cut
        is_truncated = is_truncated | ~is_terminated
    return Ends(ends=ends.astype(np.int64), terminated=is_terminated, truncated=is_truncated)


def _flags(value: Any, name: str, where: str) -> Array | None:
    if value is None:
        return None
    flags = np.asarray(value)
    if flags.ndim > 1 and flags.size == len(flags):
        flags = flags.reshape(-1)
    if flags.dtype.kind in "biuf" and flags.ndim <= 1 and np.any(wrong := np.atleast_1d((flags != 0) & (flags != 1))):
        at = int(np.argmax(wrong))
        raise InputError(f"{where}: {name} is {np.atleast_1d(flags)[at]} at number {at}, neither 0 nor 1")
    if flags.dtype.kind not in "biuf" or flags.ndim > 1:
        raise InputError(f"{where}: {name} must be one flag, or [E] or [N] flags, not {flags.dtype} {list(flags.shape)}")
    return flags.astype(bool)


def _of_episodes(flags: Array | None, name: str, ends: Array, num: int, where: str) -> Array | None:
    """Return one flag an episode."""
    if flags is None:
        return None
    if flags.ndim == 0:
        return np.full(len(ends), bool(flags))
    if len(flags) == num:
        inside = flags.copy()
        inside[ends - 1] = False
        if np.any(inside):
            raise InputError(f"{where}: {name} is set at step {int(np.argmax(inside))}, which isn't an episode's last one")
        flags = flags[ends - 1]
    if len(flags) != len(ends):
        raise InputError(f"{where}: {name} has {len(flags)} flags; give one, {len(ends)} (episodes) or {num} (steps)")
    return flags


@dataclass(frozen=True, kw_only=True)
class FlatSteps:
    """The arrays, or what slices like one (an HDF5 dataset)."""

    observations: Mapping[str, Any]  # key -> [N, ...], or [N+E, ...] with each episode's final one; key "" is the only one
    actions: Mapping[str, Any]  # key -> [N, ...]; several are joined
    ends: Ends
    next_observations: Mapping[str, Any] = field(default_factory=dict)  # [N, ...] each, of the same keys, or none
    rewards: Any = None  # [N]; None: 0
    success: Any = None  # [E] bool; None: unknown
    infos: Mapping[str, Any] = field(default_factory=dict)  # [N, ...] each
    final: Final | None = None  # what to do without final observations; None: they must be there
    labelled: bool = True
    source: str = ""
    where: str = ""  # for messages

    def check(self) -> None:
        """Raise InputError for an array that hasn't one row a step (and one more an episode, of observations)."""
        num, more = int(self.ends.ends[-1]), len(self.ends.ends)
        plain = {**self.actions, **{f"next {name}": rows for name, rows in self.next_observations.items()}, **self.infos}
        for name, rows in plain.items():
            if rows.shape[:1] != (num,):
                raise InputError(f"{self.where}: {name} has {_rows(rows)} rows for {num} steps")
        for name, rows in self.observations.items():
            if rows.shape[:1] not in ((num,), (num + more,)):
                wanted = f"{num} steps of {more} episodes: give {num + more} (with the final ones) or {num}"
                raise InputError(f"{self.where}: {name or 'observations'} has {_rows(rows)} rows for {wanted}")
        if self.rewards is not None and (self.rewards.shape[:1] != (num,) or int(np.prod(self.rewards.shape)) != num):
            raise InputError(f"{self.where}: the rewards are {list(self.rewards.shape)}, not one a step: [{num}]")
        if self.lacks_final and self.final is None:
            fix = f"give {num + more} rows, or final_observation='repeat' (the last one again) or 'drop' (the last action)"
            raise InputError(
                f"{self.where}: no observation after each episode's last action ({num} rows for {num} steps); {fix}"
            )

    @property
    def lacks_final(self) -> bool:
        """Whether the observations after the episodes' last actions aren't there."""
        num = int(self.ends.ends[-1])
        return not self.next_observations and any(rows.shape[0] == num for rows in self.observations.values())

    def spec(self) -> StoreSpec:
        """Return the spaces that the arrays show: without bounds, and whole numbers from 0 as choices among actions."""
        return StoreSpec(
            observation=nested_space({name: (rows.shape[1:], rows.dtype) for name, rows in self.observations.items()}),
            action=action_of([join({name: np.asarray(rows[:]) for name, rows in self.actions.items()})]),
            infos=tuple(self.infos),
        )

    def episodes(self, spec: StoreSpec, name: str = "") -> Iterator[tuple[str, Callable[[], Episode]]]:
        """Yield each episode's name and what reads it."""
        for index in range(len(self.ends.ends)):
            yield f"{name}{index}", partial(self._episode, spec, index)

    def _episode(self, spec: StoreSpec, index: int) -> Episode:
        first, end = int(self.ends.starts[index]), int(self.ends.ends[index])
        num, dropped = end - first, self.lacks_final and self.final == "drop"
        kept = num - dropped
        if kept < 1:
            raise BadEpisodeError("has no actions")
        rewards = np.zeros(num) if self.rewards is None else np.asarray(self.rewards[first:end], np.float64).reshape(-1)
        actions = fit(join({name: np.asarray(rows[first:end]) for name, rows in self.actions.items()}), spec.action.leaf, num)
        observations = {
            leaf.name: fit(self._observed(_key(leaf.name), index), leaf, num + 1) for leaf in spec.observation.leaves
        }
        return demonstration(
            observations={name: rows[: kept + 1] for name, rows in observations.items()},
            actions=actions[:kept],
            rewards=rewards[:kept],
            terminated=bool(self.ends.terminated[index]) and not dropped,
            truncated=bool(self.ends.truncated[index]) or dropped,
            labelled=self.labelled,
            source=self.source,
            success=None if self.success is None else bool(self.success[index]),
            infos=self._infos(first, first + kept),
        )

    def _observed(self, key: str, index: int) -> Array:
        """Return [T+1, ...]."""
        rows, first, end = self.observations[key], int(self.ends.starts[index]), int(self.ends.ends[index])
        if rows.shape[0] > self.ends.ends[-1]:
            return np.asarray(rows[first + index : end + index + 1])
        values = np.asarray(rows[first:end])
        if key not in self.next_observations:
            return np.concatenate([values, values[-1:]])
        following = np.asarray(self.next_observations[key][first:end])
        same = np.all(following[:-1] == values[1:], axis=tuple(range(1, values.ndim)))
        if not np.all(same):
            what = f"next {key or 'observations'} isn't the next row's: does an episode end there?"
            raise BadEpisodeError(what, step=int(np.argmin(same)))
        return np.concatenate([values, following[-1:]])

    def _infos(self, first: int, end: int) -> tuple[str, ...] | None:
        if not self.infos:
            return None
        parts = {name: np.asarray(rows[first:end]).tolist() for name, rows in self.infos.items()}
        return tuple(json.dumps({name: values[step] for name, values in parts.items()}) for step in range(end - first))


def _rows(rows: Any) -> int:
    return int(rows.shape[0]) if rows.shape else 0


def nested_space(arrays: Mapping[str, tuple[tuple[int, ...], Any]]) -> SpaceSpec:
    """Return the space of observations: key -> (shape of a row, dtype); "a/b" is `b` in the Dict `a`, "" the only one.

    Raises:
        InputError: there are none, a key is another's group, or one isn't numbers.
    """
    if not arrays:
        raise InputError("no observations given: name at least one")
    if set(arrays) == {""}:
        return SpaceSpec(tree="obs", leaves=(leaf_of("obs", *arrays[""]),))
    tree: dict[str, Any] = {"dict": {}}
    for key in arrays:
        at = tree["dict"]
        *groups, name = key.split("/")
        for group in groups:
            at = at.setdefault(group, {"dict": {}})
            if isinstance(at, str):
                raise InputError(f"observation {key!r} is in the group {group!r}, which is an observation too; rename one")
            at = at["dict"]
        if name in at:
            raise InputError(f"observation {key!r} is a group too; rename one")
        at[name] = f"obs/{key}"
    leaves = tuple(leaf_of(name, *arrays[_key(name)]) for name in _leaves(tree))
    return SpaceSpec(tree=tree, leaves=leaves)


def _leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        for below in tree["dict"].values():
            yield from _leaves(below)


def _key(leaf: str) -> str:
    """Return the observation's key of a leaf."""
    return leaf.partition("/")[2]

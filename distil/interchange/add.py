"""A store that takes a user's own arrays: `distil.Store`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from gymnasium import Env, Space

from distil.errors import InputError
from distil.interchange.base import Contents
from distil.interchange.flat import Final, FlatSteps, divide
from distil.interchange.spaces import spec_of
from distil.interchange.transfer import Notes, add_contents
from distil.store import store as base
from distil.store.location import Location, location
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.types import Array


class Store(base.Store):
    """An open store, to which arrays can be added."""

    @classmethod
    def create(
        cls,
        path: str | Location,
        spec: StoreSpec | None = None,
        *,
        env: str | Env[Any, Any] | None = None,
        observation_space: Space[Any] | None = None,
        action_space: Space[Any] | None = None,
    ) -> Self:
        """Make a new, empty store; InputError if there is one already.

        Args:
            path: its folder or URL.
            spec: its spaces and more. Without any of these arguments the first `add` makes the store, with the arrays' spaces.
            env: a Gymnasium environment with its spaces, or the id of one.
            observation_space: Gymnasium's; with `action_space`.
            action_space: Gymnasium's.
        """
        spec = spec or spec_of(env, observation_space, action_space)
        if spec is not None:
            return super().create(path, spec)
        if cls.exists(path):
            raise InputError(f"{path}: a store already exists there; open it, or choose another folder")
        return _Unmade(location(path))  # type: ignore[return-value]

    def add(self, *, observations: Any, actions: Any, **options: Any) -> Snapshot:
        """Add episodes that are arrays, in one commit; see `distil.interchange.add.add_arrays` for all options.

        One episode has T actions and T + 1 observations. Several are joined row after row, and `episode_ends` says where
        each ends. To add the same episodes again adds nothing.

        Args:
            observations: [T+1, ...], or a dict of such arrays.
            actions: [T, ...]; they become an expert's labels, unless `demonstrations=False`.
            options: `rewards` [T], `terminated`, `truncated`, `episode_ends`, `success`, `final_observation`,
                `demonstrations`, `source`.

        Returns:
            The snapshot with them.
        """
        return add_arrays(self, observations=observations, actions=actions, **options)


class _Unmade(Store):
    """A store that is made by the first `add`, and is one like others from then on."""

    def __init__(self, path: Location) -> None:
        self.path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "path":
            raise AttributeError(name)
        if not Store.exists(self.path):
            raise InputError(f"{self.path}: no episodes yet: the first `add` makes the store and says its spaces")
        vars(self).update(vars(Store.open(self.path)))
        return vars(self)[name]


def add_arrays(
    store: base.Store | Location | str,
    *,
    observations: Any,
    actions: Any,
    rewards: Any = None,
    terminated: Any = None,
    truncated: Any = None,
    episode_ends: Sequence[int] | Array | None = None,
    success: Any = None,
    final_observation: Final | None = None,
    demonstrations: bool = True,
    source: str = "arrays",
) -> Snapshot:
    """Add episodes to a store, made with the spaces that the arrays show if it isn't there, in one commit.

    Legend: N steps of all E episodes together, T of one; an episode's rows are consecutive, in order.

    Args:
        store: an open one, or its path, where it may not exist yet.
        observations: [N + E, ...], each episode's final one included; or [N, ...], see `final_observation`. A dict (of dicts)
            of such arrays where there are several.
        actions: [N, ...].
        rewards: [N]; None: 0.
        terminated: whether the task ended: one flag for all, or [E] or [N] of them; None: it never did.
        truncated: whether a limit ended the episode; None: where it didn't terminate.
        episode_ends: [E] one past each episode's last step; None: after each step that `terminated` or `truncated` marks,
            if they are [N], and at the end.
        success: one flag, or [E] of them; None: unknown.
        final_observation: what to do without final ones: "repeat" the last observation, or "drop" the last action.
        demonstrations: the actions are an expert's, and become labels; otherwise nothing is labelled.
        source: who made them, for `store info`.

    Returns:
        The snapshot with them. Episodes that the store has already, with the same content, aren't added again.

    Raises:
        InputError: the arrays contradict one another, or don't fit the store's spaces.
        RunError: a row is bad (NaN, a choice that doesn't exist).
    """
    where = "add"
    observed, acted = dict(_flat(observations)), np.asarray(actions)
    if not acted.ndim or not len(acted):
        raise InputError(f"{where}: actions must be [T, ...] with at least one, not {list(acted.shape)}")
    ends = divide(len(acted), ends=episode_ends, terminated=terminated, truncated=truncated, where=where)
    steps = FlatSteps(
        observations=observed,
        actions={"actions": acted},
        ends=ends,
        rewards=None if rewards is None else np.asarray(rewards),
        success=_of_episodes(success, len(ends.ends), where),
        final=final_observation,
        labelled=demonstrations,
        source=source,
        where=where,
    )
    steps.check()
    spec = steps.spec()
    contents = Contents(spec=spec, episodes=steps.episodes(spec), stem=source)
    return add_contents(contents, store, where=where, message=f"add {source}", note=Notes()).snapshot


def _flat(observations: Any, name: str = "") -> Iterator[tuple[str, Array]]:
    if isinstance(observations, Mapping):
        for key, value in observations.items():
            yield from _flat(value, f"{name}/{key}" if name else str(key))
    elif isinstance(observations, str | Path | bytes):
        raise InputError(
            f"add: observations {name or ''} is a path or text: load the arrays first, or use `distil store import`"
        )
    else:
        yield name, np.asarray(observations)


def _of_episodes(success: Any, num: int, where: str) -> Array | None:
    if success is None:
        return None
    flags = np.asarray(success)
    if flags.dtype.kind not in "biuf" or flags.shape not in ((), (num,)):
        raise InputError(f"{where}: success must be one flag or [{num}], not {flags.dtype} {list(flags.shape)}")
    return np.broadcast_to((flags != 0) & (flags == flags), num)

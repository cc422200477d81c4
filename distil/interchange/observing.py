"""Observations that a user's function makes of those that data hold: the corners of an object in place of its pose, say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from distil.config import import_target
from distil.errors import InputError
from distil.interchange.base import Contents
from distil.interchange.episodes import BadEpisodeError, fit, one_line
from distil.spaces import SpaceSpec
from distil.types import Episode


def observed(contents: Contents, target: str, space: SpaceSpec | None, where: str) -> Contents:
    """Return the contents with the observations that a function makes.

    Args:
        contents: what an importer found.
        target: package.module:function, from the observations [T+1, ...] of an episode to those of `space`; both are an array,
            or a dict of key -> array where there are several.
        space: the environment's observation space; None: unknown, which is refused.
        where: the data, for messages.

    Raises:
        InputError: there is no such function, or the space isn't known.
    """
    function = import_target(target, "observe")
    if space is None:
        raise InputError(f"{where}: observe={target}: the observations to make are an environment's; add --recipe or --env")
    change = partial(_changed, function=function, target=target, space=space)
    episodes = ((name, partial(change, load)) for name, load in contents.episodes)
    return replace(contents, spec=replace(contents.spec, observation=space), episodes=episodes)


def _changed(load: Callable[[], Episode], *, function: Callable[[Any], Any], target: str, space: SpaceSpec) -> Episode:
    episode = load()
    given = {name.removeprefix("obs/"): rows for name, rows in episode.observations.items()}
    try:
        made = function(next(iter(given.values())) if len(given) == 1 else given)
    except Exception as error:  # the user's own code: any kind
        raise BadEpisodeError(f"observe={target} failed: {type(error).__name__}: {one_line(error)}") from error
    names = [leaf.name for leaf in space.leaves]
    if isinstance(made, Mapping):
        rows = {f"obs/{key}": values for key, values in made.items()}
    else:
        rows = {names[0] if len(names) == 1 else "obs": made}
    if rows.keys() != set(names):
        has, wants = (", ".join(sorted(each)) for each in (rows, names))
        raise InputError(f"observe={target} returned {has}; the environment's observations are {wants}: return those")
    made_rows = {leaf.name: fit(rows[leaf.name], leaf, episode.length + 1) for leaf in space.leaves}
    return replace(episode, observations=made_rows)

"""A person at the keyboard of a Gymnasium window: while a key is down, its action replaces the policy's."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from distil.config import Config
from distil.errors import InputError
from distil.experts.base import every
from distil.experts.gates.human import Intervener
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


class KeyboardConfig(Config):
    """The keyboard, in the environment's window (`env.kwargs.render_mode: human`); one environment in this process."""

    needs_window: ClassVar[bool] = True
    kind: Literal["keyboard"] = "keyboard"
    keys: dict[str, Any] = Field(min_length=1)  # name of a key in pygame, such as "left" or "space" -> action

    def check(self, action: Leaf) -> None:
        """Raise InputError if a key or an action doesn't exist."""
        KeyboardIntervener(self.keys, action)

    def build(self, num_envs: int, action: Leaf) -> Intervener:
        """Return the intervener; InputError if a key or an action doesn't exist, or there is more than one environment."""
        if num_envs != 1:
            raise InputError(f"gate.intervener.kind=keyboard: one window is watched, not {num_envs}: set rollouts.num_envs=1")
        return KeyboardIntervener(self.keys, action)


class KeyboardIntervener:
    """In a Box, adds the actions of the keys that are down; among discrete actions, takes that of the first such key."""

    def __init__(self, keys: Mapping[str, Any], action: Leaf) -> None:
        self._sums = action.kind == "box"
        self._dtype = np.dtype(action.dtype)
        self._actions = [(_code(name), _action(name, value, action)) for name, value in keys.items()]
        self._none = np.zeros((1, *action.shape), self._dtype)

    def begin(self, slot: int, seed: int) -> None:
        """Do nothing: a key stays down across episodes."""

    def intervene(self, observations: Observations, actions: Array) -> Labels:
        """Return the action of the keys that are down; InputError without a window."""
        pygame = _pygame()
        if not pygame.display.get_init():
            raise InputError(
                "the keyboard is read in the environment's window, and pygame has none: set env.kwargs.render_mode=human, or "
                "write your own intervener if the environment does not draw with pygame"
            )
        pygame.event.pump()
        state = pygame.key.get_pressed()
        down = [action for code, action in self._actions if state[code]]
        if not down:
            return Labels(actions=self._none, mask=~every(1))
        chosen = np.sum(down, axis=0) if self._sums else down[0]
        return Labels(actions=np.asarray(chosen, self._dtype)[None], mask=every(1))


def _pygame() -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # standard output is for results
    import pygame

    return pygame


def _code(name: str) -> int:
    pygame = _pygame()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # there is no window yet; the names of keys don't depend on it
            return int(pygame.key.key_code(name))
    except ValueError:
        raise InputError(f"gate.intervener.keys: no key {name!r}; use names such as left, space, a") from None


def _action(name: str, value: Any, action: Leaf) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        array = np.empty(0)
    if array.shape != action.shape or array.dtype.kind not in ("fiu" if action.kind == "box" else "iu"):
        raise InputError(f"gate.intervener.keys.{name}: {value!r} is not an action; required shape: {action.shape}")
    if action.kind != "box":
        offset = np.asarray(array - action.start).reshape(-1)
        if ((offset < 0) | (offset >= np.asarray(action.nvec))).any():
            raise InputError(
                f"gate.intervener.keys.{name}: {value!r} is not one of the {action.nvec} actions from {action.start}"
            )
    return array

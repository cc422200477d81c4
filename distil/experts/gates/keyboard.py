"""Somebody at the keyboard of a Gymnasium window: while a key is down, its action is taken instead of the policy's."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.experts.base import every
from distil.experts.gates.human import Intervener
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations


@dataclass(frozen=True, kw_only=True)
class Keyboard:
    """Makes the intervener. `keys`: name of a key, as pygame has it, such as "left" or "space" -> the action."""

    keys: Mapping[str, Any]

    def check(self, action: Leaf) -> None:
        """Raise InputError if a key or an action doesn't exist."""
        KeyboardIntervener(self.keys, action)

    def __call__(self, num_envs: int, action: Leaf) -> Intervener:
        """Return it; InputError if a key or an action doesn't exist, or there is more than one environment."""
        if num_envs != 1:
            raise InputError(f"gate.intervener.kind=keyboard: one window is watched, not {num_envs}: set rollouts.num_envs=1")
        return KeyboardIntervener(self.keys, action)


class KeyboardIntervener:
    """Adds up the actions of the keys that are down, in a Box; of choices, takes the first that is down."""

    def __init__(self, keys: Mapping[str, Any], action: Leaf) -> None:
        self._sums = action.kind == "box"
        self._dtype = np.dtype(action.dtype)
        self._actions = [(_code(name), _action(name, value, action)) for name, value in keys.items()]
        self._none = np.zeros((1, *action.shape), self._dtype)

    def begin(self, slot: int, seed: int) -> None:
        """Do nothing: a key that is held stays held."""

    def intervene(self, observations: Observations, actions: Array) -> Labels:
        """Return the action of the keys that are down; InputError without a window."""
        pygame = _pygame()
        if not pygame.display.get_init():
            raise InputError(
                "the keyboard is read in the environment's window, and pygame has none: set env.kwargs.render_mode=human, or "
                "write an intervener of your own for environments that draw with something else"
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
        raise InputError(f"gate.intervener.keys: there is no key {name!r}; use names such as left, space, a") from None


def _action(name: str, value: Any, action: Leaf) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        array = np.empty(0)
    if array.shape != action.shape or array.dtype.kind not in ("fiu" if action.kind == "box" else "iu"):
        raise InputError(f"gate.intervener.keys.{name}: {value!r} is no action; it should have the shape {action.shape}")
    if action.kind != "box":
        offset = np.asarray(array - action.start).reshape(-1)
        if ((offset < 0) | (offset >= np.asarray(action.nvec))).any():
            raise InputError(f"gate.intervener.keys.{name}: {value!r} is no choice of {action.nvec} from {action.start} on")
    return array

"""The data that flows between the layers: Episode, Batch, Labels.

Legend: B batch, H observation horizon, T time (or action chunk), A action dimension, N environments.
Arrays are numpy's unless a comment says torch's. An observation is always a mapping from leaf name (see `distil.spaces`)
to array, whatever the environment's own structure is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Observations = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One complete episode, from reset to its end: T actions, T + 1 observations.

    `terminated` (the task ended) and `truncated` (a limit cut it) are never folded into one flag: a value bootstraps after
    the second and not after the first.
    """

    observations: Observations  # leaf name -> [T+1, ...]; the last one is what the last action led to
    actions: Array  # [T, ...] as executed
    rewards: Array  # [T] float64
    terminated: bool
    truncated: bool
    expert_actions: Array  # [T, ...] the expert's action at each visited state; zeros where `labelled` is 0
    labelled: Array  # [T] uint8, which labels exist
    acted_by_expert: Array  # [T] uint8, who acted
    policy_version: int = -1  # of the acting policy; -1: no learned policy acted
    round: int = 0
    seed: int = 0
    uid: str = ""  # unique in a store; its order is the canonical order of episodes
    source: str = ""  # who made it, such as "expert:scripted"
    success: bool | None = None  # None: the environment doesn't say
    infos: tuple[str, ...] | None = None  # [T] JSON of the infos the user named, or None

    @property
    def length(self) -> int:
        """Number of actions T."""
        return len(self.rewards)

    @property
    def total_reward(self) -> float:
        """Undiscounted return."""
        return float(np.add.reduce(self.rewards, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Windows of demonstrations, as a loss takes them. Fields are numpy arrays or torch tensors, all of one kind.

    Windows clamp to their episode's bounds: `is_pad` marks the positions of the action chunk that lie beyond the end, or
    have no label. They count in neither the numerator nor the denominator of a loss.
    """

    observations: Mapping[str, Any]  # leaf name -> [B, H, ...]
    actions: Any  # [B, T, A...] labels
    is_pad: Any  # [B, T] bool
    weights: Any = None  # [B] float32, or None for all ones

    def __len__(self) -> int:
        return len(self.is_pad)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What an expert answers for N observations."""

    actions: Array  # [N, ...] in the environment's action space
    mask: Array  # [N] bool: which answers are valid


class Progress(Protocol):
    """Told how far long work has come; the command line draws a bar or prints lines from it."""

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None:
        """Report `done` of `total` units of `what` ("collect", "update", "evaluate"), and figures worth showing."""


def say(progress: Progress, text: str) -> None:
    """Have `progress` show a line of text, if it is for people: a console has a method `say`."""
    if (show := getattr(progress, "say", None)) is not None:
        show(text)


@contextmanager
def within(progress: Progress, *places: str) -> Iterator[None]:
    """Have `progress` say of all work in the block where it belongs, such as "round 3 of 5": a console has a method `within`.

    Empty places are left out.
    """
    enter = getattr(progress, "within", None)
    with enter(*filter(None, places)) if enter is not None else nullcontext():
        yield


def show(progress: Progress, text: str) -> None:
    """Have `progress` keep a text in sight while it changes, such as a table: a console has a method `show`."""
    if (keep := getattr(progress, "show", None)) is not None:
        keep(text)


def silent(what: str, done: int, total: int, /, **figures: float) -> None:
    """Report nothing: the `Progress` of library calls."""


class Note(Protocol):
    """Told what a user should know although it is no fault; the command line prints it as a line."""

    def __call__(self, text: str, /) -> None:
        """Take one line of text."""


def unheard(text: str, /) -> None:
    """Drop it: the `Note` of library calls."""

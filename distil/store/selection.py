"""Choosing episodes by their facts: filters, the best p %, n at random. Resolved from the episode index alone."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from distil.config import Config
from distil.errors import InputError
from distil.seeding import generator
from distil.store.index import EpisodeIndex
from distil.store.snapshot import Snapshot


class SelectionConfig(Config):
    """`select:` which episodes of a store. Filters hold together; then the best are kept, then `episodes` are drawn.

    Bounds are inclusive. What is left keeps the snapshot's order.
    """

    sources: tuple[str, ...] | None = None  # who made it; `*` matches any text, such as expert:*
    min_round: int | None = None
    max_round: int | None = None
    min_return: float | None = None
    max_return: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_policy_version: int | None = None  # -1: no learned policy acted
    max_policy_version: int | None = None
    seeds: tuple[int, ...] | None = None  # of the episodes' resets
    success: bool | None = None  # episodes whose environment doesn't say are neither
    top_percent: float | None = Field(default=None, gt=0, le=100)  # by return; at least one episode
    episodes: int | None = Field(default=None, ge=1)  # drawn without replacement
    seed: int = Field(default=0, ge=0)  # of the draw

    @model_validator(mode="after")
    def _consistent(self) -> SelectionConfig:
        for name in ("round", "return", "length", "policy_version"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{name} {low} is above max_{name} {high}: swap them")
        return self

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self.model_copy(update={"seed": 0}) == SelectionConfig()

    @property
    def filters(self) -> SelectionConfig:
        """What takes or leaves each episode by itself: without `top_percent` and `episodes`."""
        return self.model_copy(update={"top_percent": None, "episodes": None})

    def resolve(self, snapshot: Snapshot) -> Snapshot:
        """Return the view of the chosen episodes, in the snapshot's order; InputError when none, or too few, are left."""
        if self.is_everything:
            return snapshot
        keep = np.flatnonzero(self.mask(snapshot.episodes))
        if self.top_percent is not None and len(keep):
            returns = snapshot.episodes.total_reward[keep]
            num = max(1, int(np.ceil(len(keep) * self.top_percent / 100 - 1e-9)))
            keep = np.sort(keep[np.argsort(-returns, kind="stable")[:num]])
        if not len(keep):
            raise InputError(
                f"{snapshot.path}: none of its {snapshot.num_episodes} episodes fits ({self.describe()}); widen it"
            )
        if self.episodes is not None:
            if self.episodes > len(keep):
                raise InputError(
                    f"{snapshot.path}: {self.episodes} episodes requested, {len(keep)} fit ({self.describe()}); collect more"
                )
            keep = np.sort(generator(self.seed, "selection").permutation(keep)[: self.episodes])
        return snapshot.select(keep)

    def describe(self) -> str:
        """Return what is set, as one would write it on the command line."""
        set_here = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name}={value}" for name, value in set_here.items())

    def mask(self, episodes: EpisodeIndex) -> NDArray[np.bool_]:
        """Return which episodes the filters take, [E] bool: what is chosen before `top_percent` and `episodes`."""
        keep = np.ones(len(episodes), np.bool_)
        columns = {"round": "round", "return": "total_reward", "length": "length", "policy_version": "policy_version"}
        for name, column in columns.items():
            values = getattr(episodes, column)
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None:
                keep &= values >= low
            if high is not None:
                keep &= values <= high
        if self.seeds is not None:
            keep &= np.isin(episodes.seed, self.seeds)
        if self.success is not None:
            keep &= episodes.success == int(self.success)
        if self.sources is not None:
            names, which = np.unique(episodes.source, return_inverse=True)
            fits = [any(fnmatchcase(str(name), pattern) for pattern in self.sources) for name in names]
            keep &= np.array(fits, np.bool_)[which]
        return keep

"""Pieces of episodes, as RLlib records them, joined to whole ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from distil.interchange.episodes import BadEpisodeError, Finding, Report
from distil.types import Array


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive steps of one episode."""

    observations: Mapping[str, Array]  # leaf -> [n+1, ...]
    actions: Array  # [n, ...]
    rewards: Array  # [n] float64
    terminated: bool
    truncated: bool
    start: int | None = None  # the first one's step, where the format says it
    own: Mapping[str, Any] = field(default_factory=dict)  # fields of an Episode that distil added
    infos: tuple[Mapping[str, Any], ...] = ()  # [n] of the steps, or none

    def row(self, step: int) -> int:
        """Return a hash of one step: observation, action, reward."""
        digest = xxhash.xxh3_64()
        for array in (*self.observations.values(), self.actions, self.rewards):
            digest.update(np.ascontiguousarray(array[step]).tobytes())
        return digest.intdigest()

    def after(self, step: int) -> Piece:
        """Return the piece without its first `step` steps."""
        observations = {name: rows[step:] for name, rows in self.observations.items()}
        return Piece(
            **{**vars(self), "observations": observations, "actions": self.actions[step:], "rewards": self.rewards[step:]}
            | {"infos": self.infos[step:]}
        )


@dataclass
class Joined:
    """An episode as far as it is known: pieces that follow one another, or what is wrong with one."""

    parts: list[Piece] = field(default_factory=list)
    length: int = 0
    fault: BadEpisodeError | None = None
    rows: set[int] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Whether its last step ended the episode."""
        return bool(self.parts) and (self.parts[-1].terminated or self.parts[-1].truncated)

    def add(self, piece: Piece) -> bool:
        """Append a piece, or what is new in it; return whether all of it was there already.

        Raises:
            BadEpisodeError: it doesn't follow what is known.
        """
        skip = 0
        if piece.start is not None:
            skip = min(max(self.length - piece.start, 0), len(piece.rewards))
            gap = piece.start > self.length
        elif self.parts and not self._follows(piece):
            while skip < len(piece.rewards) and piece.row(skip) in self.rows:
                skip += 1
            gap = skip == 0
        else:
            gap = False
        rest = piece.after(skip)
        if gap or (len(rest.rewards) and self.parts and not self._follows(rest)):
            raise BadEpisodeError("a piece of it doesn't follow the one before", step=self.length)
        if len(rest.rewards):
            self.parts.append(rest)
            self.length += len(rest.rewards)
            if piece.start is None:
                self.rows.update(rest.row(step) for step in range(len(rest.rewards)))
        return not len(rest.rewards)

    def piece(self) -> Piece:
        """Return the whole; BadEpisodeError if a piece of it was bad."""
        if self.fault is not None:
            raise self.fault
        first, last = self.parts[0], self.parts[-1]
        if len(self.parts) == 1:
            return first
        return Piece(
            observations={
                name: np.concatenate([*(part.observations[name][:-1] for part in self.parts[:-1]), last.observations[name]])
                for name in first.observations
            },
            actions=np.concatenate([part.actions for part in self.parts]),
            rewards=np.concatenate([part.rewards for part in self.parts]),
            terminated=last.terminated,
            truncated=last.truncated,
            own=first.own,
            infos=tuple(info for part in self.parts for info in part.infos),
        )

    def _follows(self, piece: Piece) -> bool:
        last = self.parts[-1].observations
        return all(np.array_equal(rows[0], last[name][-1]) for name, rows in piece.observations.items())


def join(pieces: Iterable[tuple[str, Path, Callable[[], Piece]]], source: str, report: Report) -> Iterator[tuple[str, Joined]]:
    """Yield each episode's name and its pieces once its end is known; those without one at the data's end."""
    found: dict[str, Joined] = {}
    done: set[str] = set()
    num_repeated = 0
    for name, file, load in pieces:
        if name in done:
            num_repeated += 1
            continue
        joined = found.setdefault(name, Joined())
        if joined.fault is None:
            try:
                num_repeated += joined.add(load())
            except BadEpisodeError as bad:
                joined.fault = BadEpisodeError(bad.what, step=bad.step, file=bad.file or str(file))
        if joined.over:
            yield name, found.pop(name)
            done.add(name)
    if num_repeated:
        report(Finding(file=source, what=f"{num_repeated} pieces of episodes are in it more than once; taken once"))
    cut = sum(joined.fault is None for joined in found.values())
    if cut:
        report(Finding(file=source, what=f"{cut} episodes have no end in it; taken as truncated"))
    yield from found.items()

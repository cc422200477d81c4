"""What workers are given, and what they report."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from distil.envs import EnvSpec, GymEnvConfig, ImportEnvConfig
from distil.errors import InputError, RunError
from distil.experts.team import Team
from distil.policies.spec import PolicyRef
from distil.rollouts.agents import AgentSpec
from distil.rollouts.loop import EpisodeItem, Record
from distil.store.footer import Footer
from distil.store.schema import StoreSpec
from distil.store.shard import ShardEntry

MAX_WAVES = 8  # episodes that a slot runs in one call of a worker, at most


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker needs, once."""

    env: GymEnvConfig | ImportEnvConfig
    spec: EnvSpec
    num_envs: int
    team: Team | None


@dataclass(frozen=True, kw_only=True)
class Target:
    """The store that an assignment's episodes go to."""

    path: str
    spec: StoreSpec
    shard_bytes: int


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the items of one call of the fleet have in common."""

    agent: AgentSpec
    record: Record = field(default_factory=Record)
    target: Target | None = None  # None: only returns and lengths
    label: bool = False  # the expert labels each complete episode
    expert: str = ""  # the one that acts and labels; empty: the team's first
    key: str = field(default_factory=lambda: secrets.token_hex(8))


class EpisodeStats(NamedTuple):
    """The outcome of one item."""

    index: int  # type: ignore[assignment]  # hides a method of tuples
    uid: str
    seed: int
    total_reward: float
    length: int
    terminated: bool
    truncated: bool
    success: bool | None
    num_labels: int


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A shard that is durable on disk, and its episodes."""

    entry: ShardEntry
    footer: Footer  # of the file
    stats: tuple[EpisodeStats, ...]


@dataclass(frozen=True, kw_only=True)
class WorkReport:
    """What a worker has done."""

    stats: tuple[EpisodeStats, ...] = ()  # of the items of this call
    sealed: tuple[Sealed, ...] = ()  # all of the assignment's that the caller does not have: a lost report loses none
    error: str = ""  # that ended the call
    is_input_error: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the stats as plain tuples, which takes an eighth of the time: they come twice an episode."""
        sealed = [(one.entry, one.footer, [*map(tuple, one.stats)]) for one in self.sealed]
        return _unpickled, ([*map(tuple, self.stats)], sealed, self.error, self.is_input_error)

    def raise_error(self) -> None:
        """Raise the error, if there is one."""
        if self.error:
            raise InputError(self.error) if self.is_input_error else RunError(self.error)


def _unpickled(stats: list[Any], sealed: list[Any], error: str, is_input_error: bool) -> WorkReport:
    make = EpisodeStats._make
    shards = tuple(Sealed(entry=entry, footer=footer, stats=(*map(make, values),)) for entry, footer, values in sealed)
    return WorkReport(stats=(*map(make, stats),), sealed=shards, error=error, is_input_error=is_input_error)


@dataclass(kw_only=True)
class Outcome:
    """The results so far; they can be read after an error, too."""

    stats: dict[int, EpisodeStats] = field(default_factory=dict)  # by the item's index; recorded episodes once they are sealed
    sealed: dict[str, Sealed] = field(default_factory=dict)  # by path

    def take(self, report: WorkReport, recorded: bool) -> None:
        """Add a report."""
        for sealed in report.sealed:
            self.sealed[sealed.entry.path] = sealed
            self.stats |= {stats.index: stats for stats in sealed.stats}
        if not recorded:
            self.stats |= {stats.index: stats for stats in report.stats}


class StoppedError(Exception):
    """The fleet was told to stop."""


Tell = Callable[[Sequence[EpisodeStats]], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call of the fleet."""

    assignment: Assignment
    items: Sequence[EpisodeItem]
    policy: PolicyRef | None  # that acts, if a policy acts
    outcome: Outcome  # filled step by step
    tell: Tell  # called as episodes end
    stopped: Callable[[], bool]  # whether to end with StoppedError


class Workers(Protocol):
    """Workers in this process or in Ray actors."""

    def run(self, job: Job) -> None:
        """Run all items. On an error, interrupt or stop, seal the complete episodes, add them to the outcome, and raise."""

    def close(self) -> None:
        """End the workers."""

"""What every algorithm is: a pure function from the last report to the next round."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

from distil.config import Config
from distil.errors import InputError
from distil.experts.gates.config import GateConfig
from distil.plans import Round, RoundReport, Spent
from distil.policies.config import ActMode
from distil.store.index import EpisodeIndex


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the run's configuration grants an algorithm. Counts; None: whatever there is."""

    num_demonstrations: int | None  # None: train on the store as it is, collect nothing
    num_steps: int
    num_evaluation_episodes: int
    batch_size: int = 256  # of a gradient step
    baselines: bool = True
    has_env: bool = True
    has_expert: bool = True
    may_check: bool = True  # whether the expert may be asked for episodes on which it proves itself
    max_episode_steps: int | None = None  # None: an episode has no known limit


class Algorithm(Protocol):
    """Decides the rounds of a run. Pure: equal reports give equal rounds, so a resumed run takes the same way."""

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return the round after `last` (None: nothing is done yet), or None when the run is finished."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an algorithm needs of its run, known before it starts. The defaults suit one that only trains on demonstrations."""

    demonstrations: bool = True  # learns from some: stored ones, or those of the expert
    collects: bool = False  # adds episodes to the demonstrations in later rounds: needs an environment and one store
    acts: bool = False  # its policy acts in the environment while it learns
    gate: GateConfig | None = None  # decides who acts in later rounds
    act: ActMode = "point"  # how the policy acts in collection
    backend: Literal["distil", "rllib"] = "distil"  # who carries out the run: its own loop, or RLlib
    overlap: int = 0  # rounds that are collected ahead, while earlier ones are trained on


class AlgorithmConfig(Config):
    """Base of the algorithms' configurations. The run reads `needs` and calls `check`; it knows no algorithm by name."""

    learner_defaults: ClassVar[Mapping[str, Any]] = {}  # of `learner:`, where a recipe leaves them out
    policy_defaults: ClassVar[Mapping[str, Any]] = {}  # of `policy:`
    unused: ClassVar[Mapping[str, str]] = {}  # keys of the run that have no effect with it -> what to do instead

    @property
    def needs(self) -> Needs:
        """What the algorithm needs of its run."""
        return Needs()

    @property
    def num_rounds(self) -> int | None:
        """The most rounds that collect or learn, for people; None: not known."""
        return None

    def pinned(self) -> Self:
        """Return it with the digests of the files that it names: a run has them in its configuration.

        Raises:
            InputError: a file is missing, or is another one than a digest says.
        """
        return self

    def check(self, budget: Budget) -> None:
        """Raise ValueError if a run with this budget cannot measure what the algorithm decides by."""

    def check_demonstrations(self, episodes: EpisodeIndex) -> None:
        """Raise InputError if it cannot learn from these: asked of stored ones before a run starts, of all before an update."""

    def fraction(self, spent: Spent, budget: Budget) -> float:
        """Return how much of its own budget a run has spent, from 0 to 1: what sweeps compare unfinished runs at."""
        raise InputError("a sweep cannot tell how far a run of this algorithm is: define `fraction` in its configuration")

    def scored(self, num_episodes: int, looks: int, budget: Budget) -> Mapping[str, Any]:
        """Return the settings, by dotted key, with which a run is scored on tuning episodes as a sweep wants it.

        Args:
            num_episodes: of each score.
            looks: about how many scores, evenly over the run's budget, and one at its end.
            budget: what the run's configuration grants.
        """
        raise InputError("a sweep cannot have a run of this algorithm scored: define `scored` in its configuration")

    def granted(self, labels: int | None, steps: int | None, lengths: Sequence[int]) -> Mapping[str, Any]:
        """Return the settings, by dotted key, that hold a run to what all runs of a sweep get; none: no such limit suits it.

        Args:
            labels: steps that the expert labels.
            steps: those of the demonstrations and the learner's own.
            lengths: steps of the demonstrations, in their order.
        """
        return {}

    @abstractmethod
    def build(self, budget: Budget) -> Algorithm:
        """Return the algorithm under `budget`; InputError if it cannot work with it."""

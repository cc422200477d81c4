"""Scores on fixed episodes, in the vocabulary of metrics that all algorithms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distil.plans import Who
from distil.policies.config import ActMode
from distil.policies.spec import PolicyRef
from distil.rollouts.agents import AgentSpec
from distil.rollouts.fleet import Fleet
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.work import Assignment, Target
from distil.stats import mean_interval, ratio_low
from distil.store.store import Store
from distil.types import Array, Progress, silent


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Mean returns of the random policy (0 of `eval/normalised`) and of the expert (1), on the same seeds."""

    random: float
    expert: float

    def normalise(self, value: float) -> float | None:
        """Return `value` on the scale where random is 0 and expert is 1; None if both are equal."""
        span = self.expert - self.random
        return (value - self.random) / span if span else None


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """The outcome of E episodes, in the order of their seeds."""

    seeds: tuple[int, ...]
    returns: Array  # [E] float64, undiscounted
    lengths: Array  # [E] int64
    successes: Array | None  # [E] bool; None: the environment does not report success

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def iqm(self) -> float:
        """Interquartile mean of the returns (Agarwal et al., arXiv:2108.13264)."""
        low = len(self.returns) // 4
        high = len(self.returns) - low
        return float(np.partition(self.returns, (low, high - 1))[low:high].mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean return; None for one episode."""
        return mean_interval(self.returns)

    def metrics(self, baselines: Baselines | None = None, prefix: str = "eval") -> dict[str, float]:
        """Return `eval/*` by name.

        Args:
            baselines: for the normalised score, which is left out without them.
            prefix: in place of `eval`.
        """
        out = {"return_mean": self.mean, "return_iqm": self.iqm}
        if self.interval is not None:
            out["return_ci_low"], out["return_ci_high"] = self.interval
        out["episode_length"] = float(self.lengths.mean())
        score = baselines.normalise(self.mean) if baselines else None
        if score is not None:
            out["normalised"] = score
        if self.successes is not None:
            out["success_rate"] = float(self.successes.mean())
        return {f"{prefix}/{name}": value for name, value in out.items()}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data, exact: `from_json` gives the same result."""
        successes = None if self.successes is None else self.successes.tolist()
        return {
            "seeds": list(self.seeds),
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
            "successes": successes,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> EvalResult:
        """Return what `to_json` wrote; KeyError, TypeError or ValueError if `data` is something else."""
        successes = data["successes"]
        return EvalResult(
            seeds=tuple(data["seeds"]),
            returns=np.array(data["returns"], np.float64),
            lengths=np.array(data["lengths"], np.int64),
            successes=None if successes is None else np.array(successes, np.bool_),
        )

    def table(self, baselines: Baselines | None = None) -> str:
        """Return the metrics as a text table."""
        rows = self.metrics(baselines) | {"episodes": float(len(self.seeds))}
        width = max(map(len, rows))
        return "\n".join(f"{name.removeprefix('eval/'):<{width}} {value:12.4g}" for name, value in rows.items())


def score_low(policy: EvalResult, expert: EvalResult, random: EvalResult, confidence: float) -> float | None:
    """Return a lower bound of a policy's normalised score (0: random policy, 1: expert) over all episodes.

    It accounts for the spread of all three returns, episode by episode. One episode is added in which the policy is as bad as
    the random policy. Otherwise failures that are too rare to show up in a few episodes would count as impossible.

    Args:
        policy: at least two episodes.
        expert: the same episodes.
        random: the same episodes.
        confidence: the probability that the true score is at least the bound, for normal returns.
    """
    assert policy.seeds == expert.seeds == random.seeds
    gained, possible = policy.returns - random.returns, expert.returns - random.returns
    with_failure = np.append(gained, 0.0), np.append(possible, possible.mean())
    return ratio_low(*with_failure, confidence)


def evaluate(
    fleet: Fleet,
    who: Who,
    seeds: Sequence[int],
    *,
    policy: PolicyRef | None = None,
    expert: str = "",
    act: ActMode = "point",
    progress: Progress = silent,
    what: str = "evaluate",
    into: Store | None = None,
) -> EvalResult:
    """Run one episode a seed and return the outcome. The same seeds give the same returns with any number of workers.

    Args:
        fleet: the workers.
        who: who acts: "policy", "expert" (without noise) or "random".
        seeds: the reset seeds, such as `episode_seeds(Purpose.EVALUATE, n)`.
        policy: the policy, if one acts.
        expert: the name of one of several experts; the first unless given.
        act: the policy's default actions, or samples that depend on an episode's seed alone.
        progress: called as episodes end.
        what: the name of the work for `progress`.
        into: a store that gets the episodes, without infos; None: they are not kept.

    Raises:
        RunError: an environment or expert failed, or workers kept dying.
        InputError: the agent does not fit the environment.
    """
    items = [EpisodeItem(index=i, uid=str(seed), seed=seed) for i, seed in enumerate(seeds)]
    shard_bytes = fleet.config.shard_bytes
    target = None if into is None else Target(path=str(into.path.resolve()), spec=into.spec, shard_bytes=shard_bytes)
    assignment = Assignment(agent=AgentSpec(who=who, act=act), expert=expert, target=target)
    outcome = fleet.run(assignment, items, policy, progress=progress, what=what)
    if into is not None:
        into.commit([sealed.entry for sealed in outcome.sealed.values()])
    stats = [outcome.stats[i] for i in range(len(items))]
    successes = [s.success for s in stats]
    known = len(stats) > 0 and any(s is not None for s in successes)
    return EvalResult(
        seeds=tuple(seeds),
        returns=np.array([s.total_reward for s in stats], np.float64),
        lengths=np.array([s.length for s in stats], np.int64),
        successes=np.array([bool(s) for s in successes]) if known else None,
    )

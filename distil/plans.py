"""What an algorithm decides, as data: the plans of a round, and the reports that come back.

A plan is everything that its executor needs besides the run's fixed configuration, so it can be retried, shipped and stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from distil.store.weights import WeightConfig

if TYPE_CHECKING:
    from distil.experts.gates.config import GateConfig

Metrics = Mapping[str, float]
Who = Literal["expert", "policy", "random"]
Unit = Literal["episode", "step"]
Source = Literal["demos", "agent"]
DEMOS = "demos"
AHEAD = "collect/ahead"  # metric: rounds after the reported one whose collection has begun


@dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """Episodes on which the expert has to prove itself before anything is learned from it."""

    num_episodes: int
    min_return: float | None = None  # a mean below this ends the run; None: only the random policy's does


@dataclass(frozen=True, kw_only=True)
class CollectPlan:
    """Complete episodes to put into the store. Episodes that it already holds (by uid) are not collected again."""

    num_episodes: int
    max_new: int | None = None  # how many of them may be collected, where stored demonstrations count; None: all
    round: int = 0
    agent: Who = "expert"  # who acts; the expert's own episodes are always labelled
    beta: float = 0.0  # where a policy acts: the chance that the expert acts in its place
    beta_unit: Unit = "episode"  # what the chance is drawn for
    gate: GateConfig | None = None  # where a policy acts: decides, instead of chance, who acts and who is asked
    label: bool = False  # where a policy acts: ask the expert what it would have done at each visited state
    max_unlabelled: float = 1.0  # fraction of the steps that may stay without a label when they were to have one


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What one stream of an update draws from."""

    source: Source = "demos"  # the run's demonstrations, or what its own policies have done
    num_rounds: int | None = None  # episodes of the last N rounds only; None: all


@dataclass(frozen=True, kw_only=True)
class UpdatePlan:
    """Gradient steps on batches from named streams; the objective says which names it needs."""

    num_steps: int
    round: int = 0
    from_scratch: bool = False  # new weights, moments and statistics; otherwise those that the last update ended with
    streams: Mapping[str, StreamPlan] = field(default_factory=lambda: {DEMOS: StreamPlan()})
    weights: WeightConfig = field(default_factory=WeightConfig)  # how much rounds, and interventions, count in the loss


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """Episodes to score the policy (and, as the baselines of the normalised score, expert and random) on."""

    num_episodes: int
    round: int = 0
    baselines: bool = True
    held_out: bool = True  # the reported score, `eval/*`; otherwise episodes to decide by, `tune/*`


@dataclass(frozen=True, kw_only=True)
class Round:
    """One turn of the loop, its parts in their order; one that is None is left out."""

    index: int
    check: CheckPlan | None = None
    collect: CollectPlan | None = None
    update: UpdatePlan | None = None
    evaluate: EvaluatePlan | None = None
    ahead: tuple[CollectPlan, ...] = ()  # of the next rounds, to be collected by this round's policy while it learns


@dataclass(frozen=True, kw_only=True)
class CollectReport:
    """What a collect plan brought."""

    snapshot: int  # version of the store after the commit
    num_episodes: int  # new ones
    env_steps: int
    expert_labels: int
    stream: str  # which episodes are the plan's: uids are <stream>-<round>-<index>
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What a round did. Once it is in the journal, it is durable."""

    index: int
    snapshot: int | None  # version of the store that the round trained on
    policy_version: int
    metrics: Metrics

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `RoundReport(**data)` reads it back."""
        return {
            "index": self.index,
            "snapshot": self.snapshot,
            "policy_version": self.policy_version,
            "metrics": dict(self.metrics),
        }


__all__ = [
    "AHEAD",
    "DEMOS",
    "CheckPlan",
    "CollectPlan",
    "CollectReport",
    "EvaluatePlan",
    "Metrics",
    "Round",
    "RoundReport",
    "Source",
    "StreamPlan",
    "Unit",
    "UpdatePlan",
    "Who",
]

"""What an algorithm decides, as data: the plans of a round, and the reports that come back.

A plan is everything that its executor needs besides the run's fixed configuration, so it can be retried, shipped and stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from distil.types import PolicyRef

Metrics = Mapping[str, float]
Who = Literal["expert", "policy", "random"]


@dataclass(frozen=True, kw_only=True)
class CollectPlan:
    """Complete episodes to put into the store. Episodes that it already holds (by uid) are not collected again."""

    num_episodes: int
    round: int = 0
    actor: Who = "expert"  # who acts


@dataclass(frozen=True, kw_only=True)
class UpdatePlan:
    """Gradient steps on a snapshot."""

    num_steps: int
    round: int = 0
    num_episodes: int | None = None  # train on the first so many episodes, in uid order; None: all


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """Held-out episodes to score the policy (and, as the baselines of `eval/normalised`, expert and random) on."""

    num_episodes: int
    round: int = 0
    baselines: bool = True


@dataclass(frozen=True, kw_only=True)
class Round:
    """One turn of the loop; a part that is None is left out."""

    index: int
    collect: CollectPlan | None = None
    update: UpdatePlan | None = None
    evaluate: EvaluatePlan | None = None


@dataclass(frozen=True, kw_only=True)
class CollectReport:
    """What a collect plan brought."""

    snapshot: int  # version of the store after the commit
    num_episodes: int  # new ones
    env_steps: int
    expert_labels: int
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


__all__ = ["CollectPlan", "CollectReport", "EvaluatePlan", "Metrics", "PolicyRef", "Round", "RoundReport", "UpdatePlan", "Who"]

"""What an algorithm decides, as data: the plans of a round, and the reports that it decides from.

Together with the run's fixed configuration, a plan is all that its executor needs: it can be retried, sent and stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from distil.objectives.base import DEMOS
from distil.store.weighting import WeightConfig

if TYPE_CHECKING:
    from distil.experts.gates.config import GateConfig
    from distil.policies.config import ActMode

Metrics = Mapping[str, float]
Who = Literal["expert", "policy", "random"]
Unit = Literal["episode", "step"]
Source = Literal["demos", "agent"]
Choice = Literal["distance", "return", "learned"]
"""Of a policy: by its states, which should be near the demonstrations', its return, or its return on a learned reward."""


@dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """Episodes on which the expert has to prove itself before anything is learned from it."""

    num_episodes: int
    min_return: float | None = None  # a mean below this ends the run; None: only the random policy's does


@dataclass(frozen=True, kw_only=True)
class CollectPlan:
    """Complete episodes to put into the store. Episodes that it already holds (by uid) are not collected again."""

    num_episodes: int
    into: Source = "demos"  # the run's demonstrations, or the store of what its own policies do
    min_steps: int | None = None  # into "agent": then further complete episodes, by index, until there are at least N steps
    keep_rounds: int | None = None  # into "agent": remove the episodes of all but the N newest rounds, this one included
    keep_steps: int | None = None  # into "agent": remove the oldest rounds that the N newest steps don't need
    max_new: int | None = None  # how many of them may be collected, where stored demonstrations count; None: all
    round: int = 0
    agent: Who = "expert"  # who acts; the expert's own episodes are always labelled
    act: ActMode = "point"  # where a policy acts: its default actions, or samples
    beta: float = 0.0  # where a policy acts: the chance that the expert acts in its place
    beta_unit: Unit = "episode"  # what the chance is drawn for
    gate: GateConfig | None = None  # where a policy acts: decides, instead of chance, who acts and who is asked
    label: bool = False  # where a policy acts: ask the expert what it would have done at each visited state
    max_unlabelled: float = 1.0  # fraction of the steps that may stay without a label when they were to have one


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What one stream of an update draws from."""

    source: Source = "demos"  # the run's demonstrations, or what its own policies have done
    num_rounds: int | None = None  # episodes of the last N rounds that collected there; None: all that are kept


@dataclass(frozen=True, kw_only=True)
class WatchPlan:
    """Scores of the policy while an update learns, on tuning episodes: they change nothing about it."""

    every: int  # gradient steps of the update; the last one is always among them
    num_episodes: int
    baselines: bool = True


@dataclass(frozen=True, kw_only=True)
class UpdatePlan:
    """Gradient steps on batches from named streams; the objective says which names it needs."""

    num_steps: int  # 0: only fit the statistics, on the streams that there are: before that, a policy can't act
    round: int = 0
    from_scratch: bool = False  # new weights, moments and statistics; otherwise those that the last update ended with
    streams: Mapping[str, StreamPlan] = field(default_factory=lambda: {DEMOS: StreamPlan()})
    weights: WeightConfig = field(default_factory=WeightConfig)  # how much rounds, and interventions, count in the loss
    watch: WatchPlan | None = None

    def reads(self, source: Source) -> bool:
        """Return whether one of its streams draws from `source`."""
        return any(stream.source == source for stream in self.streams.values())


@dataclass(frozen=True, kw_only=True)
class ConfirmPlan:
    """A second look at a score that reaches a target: more tuning episodes, to tell a good policy from a lucky one.

    The policy, the expert and the random policy run the same episodes. `RoundReport.score_low` is the lower bound that follows
    from them, `RoundReport.num_looks` the number of such looks so far. The more looks a run takes, the more confident each has
    to be.
    """

    target: float  # confirm only if the score is at least this
    num_episodes: int  # the tuning episodes that come first, so they include those of the score
    confidence: float  # of the lower bound, one-sided
    num_before: int = 0  # looks that the run has taken already


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """Episodes to score the policy (and, as the baselines of the normalised score, expert and random) on."""

    num_episodes: int
    baselines: bool = True
    held_out: bool = True  # the reported score, `eval/*`; otherwise episodes to decide by, `tune/*`
    confirm: ConfirmPlan | None = None  # where the episodes are tuning episodes


@dataclass(frozen=True, kw_only=True)
class Round:
    """One turn of the loop, its parts in their order; one that is None is left out."""

    index: int
    check: CheckPlan | None = None
    collect: CollectPlan | None = None
    update: UpdatePlan | None = None
    evaluate: EvaluatePlan | None = None
    compare: bool = (
        False  # how far are its tuning episodes (else the agent's newest) from the demonstrations? `tune/wasserstein`
    )
    choose: Choice | None = None  # keep its policy if none before was better by that; the run ends with the policy kept last
    ahead: tuple[CollectPlan, ...] = ()  # of the next rounds, to be collected by this round's policy while it learns

    @property
    def is_final(self) -> bool:
        """Whether the policy is scored on the held-out episodes."""
        return self.evaluate is not None and self.evaluate.held_out


@dataclass(frozen=True, kw_only=True)
class CollectReport:
    """What a collect plan brought."""

    snapshot: int  # version of the store after the commit
    num_episodes: int  # new ones
    num_planned: int  # all of the plan's, those that the store had already included
    env_steps: int
    expert_labels: int
    stream: str  # which episodes are the plan's: uids are <stream>-<round>-<index>
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a run has spent so far, over all its rounds. Algorithms keep their budgets by these numbers."""

    demonstrations: int = 0  # episodes among the demonstrations in which no learned policy acted, stored ones included
    env_steps: int = 0  # of all episodes that the run has collected or was given, whatever store they are in
    expert_labels: int = 0  # of these steps, how many have a label
    unlabelled_steps: int = 0  # of the demonstrations' steps, how many have none
    given_env_steps: int = 0  # of `env_steps`: in stored demonstrations, which have cost this run nothing
    given_expert_labels: int = 0  # of `expert_labels`: the same
    agent_episodes: int = 0  # collected into the agent's store
    agent_steps: int = 0  # of `env_steps`: in these episodes
    evaluation_steps: int = 0  # of the policy's episodes that only measured a score; in none of the others
    expert_queries: int = 0  # steps that an expert was asked about, for any purpose
    gradient_steps: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0  # of the run's own process, all threads; Ray's workers and learners have theirs apart

    def metrics(self) -> dict[str, float]:
        """Return `budget/*`; zeros of what only some runs have are left out."""
        some = ("given_", "agent_", "evaluation_", "cpu_s")
        return {f"budget/{name}": value for name, value in asdict(self).items() if value or not name.startswith(some)}

    @classmethod
    def of_metrics(cls, metrics: Metrics) -> Spent:
        """Return the totals in metrics that `metrics` returned; a missing one is 0."""
        seconds = {name: float(metrics.get(f"budget/{name}", 0)) for name in ("wall_s", "cpu_s")}
        counts = {name: int(metrics.get(f"budget/{name}", 0)) for name in cls.__dataclass_fields__ if name not in seconds}
        return cls(**counts, wall_s=seconds["wall_s"], cpu_s=seconds["cpu_s"])


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What a round did. Once it is in the journal, it is durable. Algorithms decide from it; `metrics` are for people only."""

    index: int
    snapshot: int | None  # version of the store that the round trained on; None: there are several stores
    policy_version: int
    spent: Spent = field(default_factory=Spent)
    ahead: int = 0  # later rounds whose collection has started
    is_final: bool = False  # the policy was scored on the held-out episodes
    score: float | None = None  # on the tuning episodes, 0: a random policy, 1: the expert; None: not measured
    score_low: float | None = None  # lower bound of the score, by `EvaluatePlan.confirm`; None: there was no second look
    num_looks: int = 0  # second looks so far
    quality: float | None = None  # of the policy, by `Round.choose`: the larger the better; None: not measured
    chosen: int | None = None  # the round whose policy the run would end with, by the same; None: this round's
    episode_length: float | None = None  # mean number of steps of the agent's episodes; None: it collected none
    metrics: Metrics = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `from_json` reads it back."""
        return asdict(self) | {"metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RoundReport:
        """Return the report that `to_json` wrote. Version 0.1.0 wrote metrics alone, which say the same."""
        if "spent" in data:
            return cls(**{**data, "spent": Spent(**data["spent"])})
        metrics = data["metrics"]
        return cls(
            **data,
            spent=Spent.of_metrics(metrics),
            ahead=int(metrics.get("collect/ahead", 0)),
            is_final="eval/return_mean" in metrics,
            score=metrics.get("tune/normalised"),
        )


__all__ = [
    "DEMOS",
    "CheckPlan",
    "CollectPlan",
    "CollectReport",
    "ConfirmPlan",
    "EvaluatePlan",
    "Metrics",
    "Round",
    "RoundReport",
    "Source",
    "Spent",
    "StreamPlan",
    "Unit",
    "UpdatePlan",
    "Who",
]

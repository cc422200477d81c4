"""Which configuration of a sweep is best, and whether that is more than luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distil.stats import mean_interval, pareto_front
from distil.sweep.space import Values
from distil.sweep.state import Trial


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A configuration that was trained again with fresh seeds."""

    trial: str
    family: str
    values: Values
    searched: float  # its score in the search
    scores: Mapping[int, float]  # root seed -> score on the held-out episodes
    runs: Sequence[str]  # folders
    spent: Mapping[str, float]  # mean of each budget

    @property
    def mean(self) -> float:
        """Mean over the seeds: what is ranked by."""
        return float(np.mean(list(self.scores.values())))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean."""
        return mean_interval(list(self.scores.values()))

    @property
    def best_run(self) -> str:
        """The folder of its run with the highest score."""
        return max(zip(self.scores.values(), self.runs, strict=True))[1]

    @property
    def labels(self) -> float:
        """Mean number of steps that the expert labelled."""
        return self.spent.get("expert_labels", 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            **asdict(self),
            "mean": self.mean,
            "interval": self.interval,
            "scores": {str(k): v for k, v in self.scores.items()},
        }


def best(trials: Sequence[Trial], num: int, *, by_labels: bool = False) -> list[Trial]:
    """Return the trials of the search that came to their end with the best scores, best first; earlier ones win ties.

    A single seed: the best of many equal ones looks much better than it is, so that these have to be confirmed. Each family's
    best one is among them, so that families can be compared.

    Args:
        trials: of the sweep.
        num: how many.
        by_labels: first those of the Pareto front of score and labels; of a longer front, `num` evenly along it, ends included.
    """
    done = [trial for trial in trials if trial.of is None and trial.ended == "done" and trial.score is not None]
    ranked = sorted(done, key=lambda trial: -(trial.score or 0.0))
    firsts = list({trial.family: trial for trial in reversed(ranked)}.values())
    chosen = _spread(done, num) if by_labels else []
    for trial in (*sorted(firsts, key=lambda trial: -(trial.score or 0.0)), *ranked):
        if trial not in chosen and len(chosen) < num:
            chosen.append(trial)
    return sorted(chosen, key=lambda trial: -(trial.score or 0.0))


def _spread(done: Sequence[Trial], num: int) -> list[Trial]:
    """Return at most `num` trials of the Pareto front, evenly along it, the best score first; equal ones count once."""
    scores, labels = [trial.score or 0.0 for trial in done], [trial.labels for trial in done]
    front = {(scores[index], labels[index]): done[index] for index in reversed(pareto_front(scores, labels))}
    places = np.linspace(0, len(front) - 1, min(num, len(front))).round().astype(int)
    return [list(front.values())[place] for place in places]


def searched(trials: Sequence[Trial]) -> str:
    """Return in one sentence what a search without confirmations found."""
    found = best(trials, 1)
    if not found:
        return "No trial came to its end."
    return f"{found[0].name} has the best score of the search, with one seed; nothing was confirmed."


def front(confirmed: Sequence[Confirmed]) -> list[Confirmed]:
    """Return the Pareto front: the configurations that no other one beats in both mean and labels, the fewest labels first."""
    found = pareto_front([one.mean for one in confirmed], [one.labels for one in confirmed])
    return [confirmed[index] for index in found]


def rank(confirmed: Sequence[Confirmed]) -> list[Confirmed]:
    """Return the configurations by their confirmed mean, best first."""
    return sorted(confirmed, key=lambda one: -one.mean)


def verdict(ranked: Sequence[Confirmed]) -> str:
    """Return in one sentence which configuration is best, and which ones may be as good.

    Another one may be as good if the 95 % interval of the mean difference over their common seeds includes 0.
    """
    if not ranked:
        return "No configuration was confirmed."
    first, others = ranked[0], ranked[1:]
    ties = [other.trial for other in others if _may_be_as_good(first, other)]
    low, high = first.interval or (first.mean, first.mean)
    text = f"{first.trial} is best: {first.mean:.3f} ({low:.3f} to {high:.3f}) over {len(first.scores)} seeds"
    if not others:
        return f"{text}."
    return f"{text}; {', '.join(ties)} may be as good." if ties else f"{text}, above all others."


def _may_be_as_good(first: Confirmed, other: Confirmed) -> bool:
    common = sorted(first.scores.keys() & other.scores.keys())
    interval = mean_interval([first.scores[seed] - other.scores[seed] for seed in common])
    return interval is None or interval[0] <= 0


def front_text(found: Sequence[Confirmed]) -> str:
    """Return in one sentence which configurations are on the Pareto front."""
    points = [f"{one.trial} ({one.mean:.3f} with {one.labels:,.0f} labels)" for one in found]
    return f"Pareto front of score and labels: {', '.join(points)}."

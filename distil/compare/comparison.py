"""Comparison: methods with their scores, how they differ from the best one, and a verdict in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distil.compare.methods import Method, group
from distil.compare.record import COUNTED, RunRecord
from distil.errors import InputError
from distil.stats import Difference, Improvement, adjusted, improvement, paired_difference, unpaired_difference

LEVEL = 0.05  # of a false difference among all that are tested
EQUAL = 0.98  # budgets that differ by less are called equal
_MIN_RUNS = 2


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The best method against another one."""

    other: Method
    improvement: Improvement | None  # None: a side has a single run
    difference: Difference | None  # of the mean returns; None: the same
    adjusted_p: float | None = None  # of the improvement, for the number of methods and the choice of the best

    @property
    def is_clear(self) -> bool:
        """Whether the best method is better beyond the noise."""
        return (
            self.improvement is not None
            and self.adjusted_p is not None
            and self.adjusted_p < LEVEL
            and self.improvement.probability > 0.5
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was compared, and what came out."""

    environment: str
    held_out: bool  # the scores are of the held-out episodes; otherwise of the tuning episodes
    methods: Sequence[Method]  # the best first
    pairs: Sequence[Pair]  # the best one against each other one
    trials: Sequence[Method]  # of sweeps, by their score on the tuning episodes
    unfinished: Sequence[RunRecord]  # failed, running, not finished, not readable
    unscored: Sequence[RunRecord]  # finished, without such a score
    notes: Sequence[str]

    @property
    def best(self) -> Method:
        """The method with the highest mean."""
        return self.methods[0]

    @property
    def runs(self) -> list[RunRecord]:
        """The runs of all methods."""
        return [run for method in self.methods for run in method.runs]


def compare(records: Sequence[RunRecord]) -> Comparison:
    """Compare runs of one environment. Where there are confirmations, a sweep's trials are apart: they chose, and are biased.

    Raises:
        InputError: no run has a score.
    """
    trials = [record for record in records if record.role == "trial"]
    results = [record for record in records if record.role != "trial"] or list(records)
    trials = trials if len(results) < len(records) else []
    held_out = any(record.final for record in results)
    methods = group(results, held_out=held_out)
    if not methods:
        raise InputError(
            f"none of the {len(records)} runs has a score (eval/return_mean or tune/return_mean): wait until one has "
            "evaluated its policy, and set evaluation.episodes above 0"
        )
    scored = {id(run) for method in methods for run in (*method.runs, *method.repeated)}
    rest = [record for record in (*results, *trials) if id(record) not in scored]
    out = Comparison(
        environment=records[0].environment,
        held_out=held_out,
        methods=methods,
        pairs=_pairs(methods),
        trials=group(trials, held_out=False),
        unfinished=[record for record in records if record.state not in ("finished", "stopped")],
        unscored=[record for record in rest if record.state == "finished" and record.role != "trial"],
        notes=(),
    )
    return replace(out, notes=_notes(out))


def _pairs(methods: Sequence[Method]) -> list[Pair]:
    best, *others = methods
    pairs = [_pair(best, other) for other in others]
    tested = [(index, pair.improvement) for index, pair in enumerate(pairs) if pair.improvement is not None]
    for (index, _), p_value in zip(tested, adjusted([found.p_value for _, found in tested]), strict=True):
        pairs[index] = replace(pairs[index], adjusted_p=p_value)
    return pairs


def _pair(best: Method, other: Method) -> Pair:
    """Compare two methods: by pairs of equal seeds, unless these leave out more than half of the runs of one."""
    if min(len(best.points), len(other.points)) < _MIN_RUNS:
        return Pair(other=other, improvement=None, difference=None)
    ours, theirs = (dict(zip(method.seeds, method.scores, strict=True)) for method in (best, other))
    common = sorted(ours.keys() & theirs.keys())
    if len(common) >= max(_MIN_RUNS, len(ours) / 2, len(theirs) / 2):
        difference = paired_difference([ours[seed] for seed in common], [theirs[seed] for seed in common])
    else:
        difference = unpaired_difference(best.scores, other.scores)
    return Pair(other=other, improvement=improvement(best.scores, other.scores), difference=difference)


def _notes(found: Comparison) -> list[str]:
    """Return what a reader has to know about the scores, a sentence each."""
    notes = _budget_notes(found.methods)
    if not found.held_out:
        notes.append(
            "No run has a score on the held-out episodes: these scores are of the tuning episodes, and biased if they chose."
        )
    single = [method.name for method in found.methods if len(method.points) == 1]
    if single:
        notes.append(
            "Where a method has one seed, its interval is over the episodes of that run, and says nothing about other seeds."
        )
    repeated = sum(len(method.repeated) for method in found.methods)
    if repeated:
        notes.append(f"{repeated} runs repeat the configuration and seed of a newer one, and are left out.")
    lost = [run for run in (*found.unfinished, *found.unscored) if run.role != "trial"]
    if lost:
        notes.append(
            f"Runs without a result: {len(lost)}, listed below. Means are over the others, and too high if bad runs fail."
        )
    episodes = {method.config.get("evaluation.episodes") for method in found.methods}
    if len(episodes) > 1:
        notes.append("The numbers of held-out episodes differ: a score over fewer episodes is less certain than it looks.")
    levels = {(point.expert, point.random) for method in found.methods for point in method.points}
    if len(levels) > 1:
        notes.append(
            "Expert or random policy have different scores in different runs: compare returns rather than normalised scores."
        )
    return notes


def _budget_notes(methods: Sequence[Method]) -> list[str]:
    """Return which budgets all methods have spent alike, and how far the others are apart."""
    if len(methods) < 2:
        return []
    equal, other = [], []
    for key, name in COUNTED.items():
        spent = [value for method in methods if (value := method.budget(key)) is not None]
        if len(spent) < len(methods) or not any(spent):
            continue
        if min(spent) > max(spent) * EQUAL:
            equal.append(f"{name} ({max(spent):,.0f})")
        else:
            other.append(f"{name} ({min(spent):,.0f} to {max(spent):,.0f})")
    alike = f"Equal for all methods: {', '.join(equal)}." if equal else "No budget is equal for all methods."
    return [f"{alike} Different: {', '.join(other)}." if other else alike]

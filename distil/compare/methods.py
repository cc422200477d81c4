"""Methods: runs whose configurations are equal apart from the seed, and from keys that only say where a run ran."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from distil.compare.record import BUDGETS, Point, RunRecord, flat
from distil.stats import iqm, mean_interval

_PLACES = ("rollouts.", "tracking.", "learner.read.")
_PLACE_KEYS = {"name", "seed", "runs", "evaluation.video", "evaluation.baselines", "learner.checkpoint_every"} | {
    f"learner.{key}" for key in ("device", "num_learners", "threads")
}
_SHORTEN = {
    "data.episodes": "{} demos",
    "algorithm.rounds": "{} rounds",
    "algorithm.episodes_per_round": "{} a round",
    "learner.num_steps": "{} grad steps",
    "algorithm.steps": "{} env steps",
}
_MAX_NAMED = 3  # parameters in a method's name


@dataclass(frozen=True, kw_only=True)
class Method:
    """The scored runs of one configuration, one for each seed."""

    name: str
    algorithm: str
    config: Mapping[str, str]  # flat, without the keys that differ between its runs
    runs: Sequence[RunRecord]  # by seed
    points: Sequence[Point]  # the score of each run
    repeated: Sequence[RunRecord] = ()  # further runs with a seed that another run already has

    @property
    def scores(self) -> list[float]:
        """The mean return of each run."""
        return [point.score for point in self.points]

    @property
    def seeds(self) -> list[int]:
        """The root seed of each run."""
        return [run.seed for run in self.runs]

    @property
    def mean(self) -> float:
        """The mean return over the seeds."""
        return sum(self.scores) / len(self.points)

    @property
    def iqm(self) -> float:
        """The interquartile mean over the seeds."""
        return iqm(self.scores)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean over seeds; of one run, over its episodes."""
        if len(self.points) > 1:
            return mean_interval(self.scores)
        (point,) = self.points
        return None if point.low is None or point.high is None else (point.low, point.high)

    @property
    def normalised(self) -> float | None:
        """The mean normalised score; None if a run has none."""
        known = [point.normalised for point in self.points if point.normalised is not None]
        return sum(known) / len(known) if len(known) == len(self.points) else None

    def budget(self, name: str) -> float | None:
        """Return the mean of what the runs have spent; None if one does not say."""
        known = [point.budget[name] for point in self.points if name in point.budget]
        return sum(known) / len(known) if len(known) == len(self.points) else None

    @property
    def budgets(self) -> dict[str, float | None]:
        """The mean of each budget."""
        return {name: self.budget(name) for name in BUDGETS}


def group(records: Iterable[RunRecord], *, held_out: bool) -> list[Method]:
    """Return the methods of the runs that have a score, the best first, each with a name of its own.

    Args:
        records: runs; those without a score are left out.
        held_out: take the scores on the held-out episodes; otherwise those on the tuning episodes.
    """
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        if (record.final if held_out else record.tuned) is not None:
            found.setdefault(_key(record), []).append(record)
    groups = [part for runs in found.values() for part in _by_store(runs)]
    configs = [_common(runs) for runs in groups]
    names = _names(groups, configs)
    methods = [_method(*each, held_out) for each in zip(names, groups, configs, strict=True)]
    return sorted(methods, key=lambda method: -method.mean)


def differing(methods: Sequence[Method]) -> list[str]:
    """Return the keys whose values differ between methods. A key that only another algorithm has does not differ."""
    keys = sorted({key for method in methods for key in method.config})
    return [key for key in keys if _differs([method for method in methods if _has(method, key, methods)], key)]


def _differs(methods: Sequence[Method], key: str) -> bool:
    return len({method.config.get(key) for method in methods}) > 1


def _has(method: Method, key: str, methods: Sequence[Method]) -> bool:
    return any(key in other.config for other in methods if other.algorithm == method.algorithm)


def says_where(key: str) -> bool:
    """Return whether a key only says where a run ran, so that its score does not depend on it."""
    return key in _PLACE_KEYS or key.startswith(_PLACES)


def _key(record: RunRecord) -> str:
    """Return a text that is equal for the runs of one method. With an expert, a store's path is only a place.

    A sweep holds a budget equal, so that confirmations of one trial may differ in other keys than the seed.
    """
    if record.role == "confirmation" and record.path is not None:
        return str(record.path.parent.resolve() / record.trial)
    skipped = {"data.path"} if record.config.get("expert") else set()
    config = {key: value for key, value in flat(record.config).items() if not says_where(key) and key not in skipped}
    return repr(sorted(config.items()))


def _by_store(runs: list[RunRecord]) -> list[list[RunRecord]]:
    """Split runs of which several have the same seed by their store, if that tells them apart."""
    if len({run.seed for run in runs}) == len(runs):
        return [runs]
    parts: dict[str, list[RunRecord]] = {}
    for run in runs:
        parts.setdefault(str((run.config.get("data") or {}).get("path")), []).append(run)
    apart = all(len({run.seed for run in part}) == len(part) for part in parts.values())
    return list(parts.values()) if apart else [runs]


def _common(runs: Sequence[RunRecord]) -> dict[str, str]:
    flats = [flat(run.config) for run in runs]
    return {k: v for k, v in flats[0].items() if not says_where(k) and all(other.get(k) == v for other in flats[1:])}


def _method(name: str, runs: Sequence[RunRecord], config: Mapping[str, str], held_out: bool) -> Method:
    newest: dict[int, RunRecord] = {}
    for run in runs:
        newest[run.seed] = run
    kept = [newest[seed] for seed in sorted(newest)]
    points = [run.final if held_out else run.tuned for run in kept]
    return Method(
        name=name,
        algorithm=kept[0].algorithm,
        config=config,
        runs=kept,
        points=[point for point in points if point is not None],
        repeated=[run for run in runs if run not in kept],
    )


def _names(groups: Sequence[Sequence[RunRecord]], configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the name that the runs of a group share, where this tells the groups apart; else algorithm and parameters."""
    given = [{run.trial or _stem(str(run.config.get("name") or run.name)) for run in runs} for runs in groups]
    names = [next(iter(stems)) if len(stems) == 1 else "" for stems in given]
    if all(names) and len(set(names)) == len(names):
        return names
    algorithms = [runs[0].algorithm for runs in groups]
    names = []
    for algorithm, config in zip(algorithms, configs, strict=True):
        same = [other for name, other in zip(algorithms, configs, strict=True) if name == algorithm]
        names.append(", ".join([algorithm, *_settings(config, same)]))
    counts: dict[str, int] = {}
    for index, name in enumerate(names):
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            names[index] = f"{name} ({counts[name]})"
    return names


def _stem(name: str) -> str:
    """Return a run's name without the number of its seed."""
    return re.sub(r"[-_.](seed|s)[-_.=]?\d+$", "", name) or name


def _settings(config: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> list[str]:
    keys = sorted({key for other in others for key in other})
    keys = [key for key in keys if len({other.get(key) for other in others}) > 1]
    out = [_SHORTEN.get(key, key.rpartition(".")[2] + " {}").format(_short(config.get(key, "none"))) for key in keys]
    return out if len(out) <= _MAX_NAMED else [*out[: _MAX_NAMED - 1], f"and {len(out) - _MAX_NAMED + 1} more"]


def _short(text: str) -> str:
    """Return a number with three digits; other texts as they are."""
    try:
        return text if text.isdecimal() else f"{float(text):.3g}"
    except ValueError:
        return text

"""What a sweep would do: its trials, what holds them to a common budget, and about how long they take. Nothing is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distil.cluster import asked_cluster, num_cores
from distil.report import table
from distil.runconfig import RunConfig
from distil.session import Session
from distil.sweep.config import SweepConfig
from distil.sweep.driver import at_a_time
from distil.sweep.families import Family, families, metric_of, trial_config, trial_cpus
from distil.sweep.prepare import check, needed_episodes
from distil.sweep.search import check_searcher, num_trials
from distil.types import Progress, silent

_START_S = 3.0
_UPDATES_PER_S, _SLOW_UPDATES_PER_S = 1000.0, 200.0  # of cloning; of reinforcement learning
_STEPS_PER_S = 8000.0


@dataclass(frozen=True, kw_only=True)
class PlannedFamily:
    """What a family gets."""

    name: str
    algorithm: str
    num_trials: int
    varies: Sequence[str]  # dotted keys
    held: Mapping[str, Any]  # the common budget's settings
    seconds: float  # of one trial, estimated


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep would do."""

    name: str
    folder: str
    families: Sequence[PlannedFamily]
    num_confirmations: int
    concurrent: int | None  # None: as many as the cluster has room for, which is not asked yet
    seconds: float  # of the whole, estimated; on a cluster, one trial at a time

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "sweep": self.name,
            "folder": self.folder,
            "families": [vars(family) | {"varies": list(family.varies)} for family in self.families],
            "confirmations": self.num_confirmations,
            "concurrent": self.concurrent,
            "estimated_s": round(self.seconds),
        }

    def text(self) -> str:
        """Return it as a table and a sentence."""
        rows: list[dict[str, str | float | None]] = [
            {
                "family": family.name,
                "algorithm": family.algorithm,
                "trials": family.num_trials,
                "held": ", ".join(f"{key}={value}" for key, value in family.held.items()) or "as its recipe says",
                "seconds": round(family.seconds),
            }
            for family in self.families
        ]
        varied = [f"{family.name}: {', '.join(family.varies)}" for family in self.families]
        num, minutes = sum(family.num_trials for family in self.families), max(1, round(self.seconds / 60))
        lines = ["", "What varies:", *(f"  {line}" for line in varied), ""]
        how = "as many at a time as the cluster has room for" if self.concurrent is None else f"{self.concurrent} at a time"
        time = f"about {minutes} min by rule of thumb{' one after another' if self.concurrent is None else ''}"
        lines.append(f"{how}, {time}; in {self.folder}")
        return table(rows, f"{self.name}: {num} trials, {self.num_confirmations} confirmations") + "\n".join(lines)


def plan_sweep(sweep: SweepConfig, *, progress: Progress = silent) -> Plan:
    """Return what a sweep would do; every check that `run_sweep` makes before it starts is made.

    Raises:
        InputError: something in it is wrong.
    """
    found = families(sweep)
    check_searcher(sweep)
    with Session(found[0].config, progress) as session:
        check(sweep, found, session)
        if sweep.metric != "tune/success_rate":  # that is seen in an episode
            metric_of(sweep, found, has_successes=False)
        longest = session.spec.max_episode_steps or 1000
    planned = [_planned(sweep, family, longest) for family in found]
    concurrent = _at_a_time(sweep, found)
    num_confirmed = min(sweep.confirm.best, sum(family.num_trials for family in planned)) * sweep.confirm.seeds
    mean = sum(family.seconds * family.num_trials for family in planned) / sum(family.num_trials for family in planned)
    total = (sum(family.seconds * family.num_trials for family in planned) + num_confirmed * mean) / (concurrent or 1)
    return Plan(
        name=sweep.name,
        folder=str(sweep.folder),
        families=planned,
        num_confirmations=num_confirmed,
        concurrent=concurrent,
        seconds=total,
    )


def _at_a_time(sweep: SweepConfig, found: Sequence[Family]) -> int | None:
    """Return how many trials run at a time; None: it depends on a cluster."""
    if sweep.concurrent == "auto" and asked_cluster(found[0].config.rollouts.address) is not None:
        return None
    return at_a_time(sweep.concurrent, trial_cpus(found), num_cores())


def _planned(sweep: SweepConfig, family: Family, longest: int) -> PlannedFamily:
    """Return a family's share, as if each demonstration took as long as it may."""
    config = family.config
    lengths = [longest] * (needed_episodes(config) or 0)
    held = config.algorithm.granted(sweep.budget.labels, sweep.budget.steps, lengths)
    return PlannedFamily(
        name=family.name,
        algorithm=config.algorithm.kind,
        num_trials=num_trials(sweep, family.space),
        varies=list(family.space),
        held=held,
        seconds=_seconds(sweep, trial_config(sweep, config, {}, where=f"families.{family.name}", more=held), longest),
    )


def _seconds(sweep: SweepConfig, config: RunConfig, longest: int) -> float:
    """Return about how long a trial takes on one core: orders of magnitude of small policies, a start included."""
    looks = sweep.looks * sweep.tuning_episodes * longest
    acted = getattr(config.algorithm, "num_acting", 0)
    updates = (
        acted * getattr(config.algorithm, "updates_per_step", 1.0)
        if acted
        else config.learner.num_steps * getattr(config.algorithm, "rounds", 1)
    )
    return _START_S + looks / _STEPS_PER_S + acted / _STEPS_PER_S + updates / (_SLOW_UPDATES_PER_S if acted else _UPDATES_PER_S)

"""A sweep in three steps: prepare once, search with one seed for each configuration, confirm the best with fresh seeds.

What the sweep's journal says is durable: a sweep that was killed continues from there, and its unfinished trials from their own
runs' journals.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distil.cluster import num_cores
from distil.config import public
from distil.report import table
from distil.rundir import RunDir
from distil.seeding import Purpose
from distil.session import Session
from distil.sweep.config import SweepConfig
from distil.sweep.crew import Crew
from distil.sweep.driver import run_trials
from distil.sweep.families import Family, Metric, families, metric_of, trial_config
from distil.sweep.prepare import check, measure_baselines, share
from distil.sweep.ranking import Confirmed, best, rank, verdict
from distil.sweep.search import check_searcher, num_trials, propose
from distil.sweep.space import Values
from distil.sweep.state import SweepDir, Trial
from distil.sweep.stopping import Score, goes_on
from distil.sweep.trial import Look, Work
from distil.tracking import grouped
from distil.types import Progress, say, silent

_EPISODES = 50


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep found."""

    folder: Path
    metric: str
    trials: Sequence[Trial]
    confirmed: Sequence[Confirmed]  # best first
    verdict: str
    wall_s: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        trials = [
            {"name": t.name, "family": t.family, "values": t.values, "score": t.score, "ended": t.ended, "fault": t.fault}
            for t in self.trials
            if t.of is None
        ]
        return {
            "sweep": str(self.folder),
            "metric": self.metric,
            "verdict": self.verdict,
            "confirmed": [one.to_json() for one in self.confirmed],
            "trials": trials,
            "wall_s": self.wall_s,
        }

    def text(self) -> str:
        """Return the ranking as a table, with the verdict and where everything is."""
        searched = [trial for trial in self.trials if trial.of is None]
        counts = {how: sum(trial.ended == how for trial in searched) for how in ("done", "stopped", "failed")}
        rows: list[dict[str, str | float | None]] = [
            {
                "configuration": one.trial,
                "mean": f"{one.mean:.3f}",
                "95 % interval": "" if one.interval is None else f"{one.interval[0]:.3f} to {one.interval[1]:.3f}",
                "seeds": len(one.scores),
                "labels": round(one.spent.get("expert_labels", 0)),
                "own steps": round(one.spent.get("agent_steps", 0)) or None,
                "in the search": f"{one.searched:.3f}",
            }
            for one in self.confirmed
        ]
        held_out, right = f"eval/{self.metric.removeprefix('tune/')}", ("mean", "95 % interval", "in the search")
        ranking = table(rows, f"{held_out} on held-out episodes, fresh seeds", numeric=right) if rows else ""
        done = ", ".join(f"{num} {how}" for how, num in counts.items() if num)
        lines = ["", self.verdict, ""]
        lines += [
            f"  {one.trial}: {', '.join(f'{key}={_short(value)}' for key, value in one.values.items())}"
            for one in self.confirmed
        ]
        lines += ["", f"{len(searched)} trials ({done}) in {self.wall_s:.0f} s: {self.folder}", f"distil compare {self.folder}"]
        return ranking + "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run_sweep(sweep: SweepConfig, *, resume: bool = False, progress: Progress = silent) -> SweepResult:
    """Carry out a sweep, or what is left of it.

    Args:
        sweep: the configuration; with `resume`, that of the folder.
        resume: continue the sweep in its folder; it is started if there is none.
        progress: told of trials as they end, and shown notes.

    Raises:
        InputError: something in it is wrong; nothing has started then. Or another process runs it.
        RunError: the environment, the expert, Ray Tune or the disk failed. What was committed is kept.
    """
    started = time.perf_counter()
    found = families(sweep)
    check_searcher(sweep)
    folder = SweepDir(sweep.folder)
    with Session(found[0].config, progress) as session:
        check(sweep, found, session)
        metric = metric_of(sweep, found, has_successes=_reports_success(sweep, session))
        if not (resume and folder.is_sweep):
            folder = SweepDir.create(sweep)
        folder.require_same(sweep)
        first, name = found[0].config, f"sweep: {sweep.name}"
        about = {"families": list(sweep.families), "trials": {family.name: num_trials(sweep, family.space) for family in found}}
        with (
            folder.lock(),
            grouped(first.tracking, first.name, folder.path, name, params=about, progress=progress) as group,
        ):
            stage = Stage(sweep, found, folder, session, metric, group.parent)
            stage.search()
            confirmed = stage.confirm()
            trials = list(folder.trials().values())
            result = SweepResult(
                folder=folder.path,
                metric=stage.metric.name,
                trials=trials,
                confirmed=confirmed,
                verdict=verdict(confirmed),
                wall_s=time.perf_counter() - started,
            )
            folder.finish(result.to_json())
    return result


class Stage(Crew):
    """The steps of one sweep; while trials run, it decides which ones come next and which ones go on."""

    def __init__(
        self, sweep: SweepConfig, found: Sequence[Family], folder: SweepDir, session: Session, metric: Metric, parent: str
    ) -> None:
        self._sweep, self._folder, self._session, self._parent = sweep, folder, session, parent
        self._families = {family.name: family for family in found}
        self.metric = self._prepare(found, metric)
        self._queue: list[Trial] = []
        self._given: Mapping[int, Mapping[str, Mapping[str, Any]]] = {}  # root seed -> family -> its share of the budget
        self._num_planned = 0

    # ---- prepare

    def _prepare(self, found: Sequence[Family], metric: Metric) -> Metric:
        """Measure the baselines, unless the journal has them; return what trials are ranked by."""
        known = self._folder.prepared()
        if known is None:
            returns = measure_baselines(self._sweep, found, self._session, self._num_held_out)
            self._folder.journal.append("prepared", metric=metric.name, returns=dict(returns))
            return metric
        return Metric.of(known["metric"])

    @property
    def _num_held_out(self) -> int:
        return self._sweep.confirm.episodes or _held_out(self._sweep, next(iter(self._families)))

    def _granted(self, seed: int) -> Mapping[str, Mapping[str, Any]]:
        """Return what holds the families to the common budget with a root seed, whose demonstrations are collected first."""
        known = next((line for line in self._folder.journal.entries("shared") if line["seed"] == seed), None)
        if known is None:
            shared = share(self._sweep, list(self._families.values()), self._session, seed)
            known = {"seed": seed, "granted": shared.granted, "lengths": list(shared.lengths)}
            self._folder.journal.append("shared", **known)
        granted: Mapping[str, Mapping[str, Any]] = known["granted"]
        return granted

    # ---- search

    def search(self) -> None:
        """Run the trials that are left of the search."""
        granted = self._granted(self._sweep.seed)
        self._run([self._searched(family, number) for family, number in self._numbers()], {self._sweep.seed: granted})

    def _numbers(self) -> list[tuple[Family, int]]:
        """Return the trials in the order of their start: the families take turns."""
        nums = {name: num_trials(self._sweep, family.space) for name, family in self._families.items()}
        order = [(number, name) for name, num in nums.items() for number in range(num)]
        return [(self._families[name], number) for number, name in sorted(order, key=lambda item: item[0])]

    def _searched(self, family: Family, number: int) -> Trial:
        return Trial(name=f"{family.name}-{number:03d}", family=family.name, values={}, number=number, seed=self._sweep.seed)

    # ---- confirm

    def confirm(self) -> list[Confirmed]:
        """Train the best configurations again with fresh seeds; return them, best first."""
        chosen = best(list(self._folder.trials().values()), self._sweep.confirm.best)
        seeds = [self._sweep.seed + 1 + index for index in range(self._sweep.confirm.seeds)]
        granted = {seed: self._granted(seed) for seed in seeds} if chosen else {}
        wanted = [
            Trial(name=f"{trial.name}-seed-{seed}", family=trial.family, values=trial.values, of=trial.name, seed=seed)
            for seed in seeds
            for trial in chosen
        ]
        self._run(wanted, granted)
        return rank([found for trial in chosen if (found := self._confirmed(trial, seeds)) is not None])

    def _confirmed(self, trial: Trial, seeds: Sequence[int]) -> Confirmed | None:
        """Return the held-out scores of a configuration; None if no run came to its end."""
        name, scores, spent, runs = (
            f"eval/{self.metric.name.removeprefix('tune/')}",
            dict[int, float](),
            list[Mapping[str, float]](),
            [],
        )
        for seed in seeds:
            run = RunDir(self._folder.path / "confirm" / f"{trial.name}-seed-{seed}")
            if run.is_finished:
                report = run.reports()[-1]
                scores[seed] = self.metric.sign * report.metrics[name]
                spent.append(report.spent.metrics())
                runs.append(str(run.path))
        if not scores:
            return None
        keys = sorted(set().union(*spent))
        return Confirmed(
            trial=trial.name,
            family=trial.family,
            values=trial.values,
            searched=trial.score or 0.0,
            scores=scores,
            runs=runs,
            spent={key.removeprefix("budget/"): float(np.mean([each.get(key, 0.0) for each in spent])) for key in keys},
        )

    # ---- both

    def _run(self, wanted: Sequence[Trial], granted: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> None:
        """Run the trials that have not ended: those that were interrupted first."""
        known = self._folder.trials()
        left = [trial for trial in wanted if trial.name not in known or known[trial.name].ended is None]
        self._queue = sorted((known.get(trial.name, trial) for trial in left), key=lambda trial: trial.name not in known)
        self._given, self._num_planned = granted, len(wanted)
        if not left:
            return
        self._tell()
        first = next(iter(self._families.values())).config
        bundles = [{"CPU": 1.0}] * (1 + (int(first.rollouts.num_workers) if first.rollouts.num_workers != "auto" else 0))
        bundles += [{"CPU": 1.0}] * first.learner.num_learners
        concurrent = num_cores() if self._sweep.concurrent == "auto" else int(self._sweep.concurrent)
        run_trials(self, num=len(left), concurrent=min(concurrent, len(left)), resources=bundles, retries=self._sweep.retries)

    def next(self) -> Work | None:
        """Return the next trial; see `Crew`."""
        if not self._queue:
            return None
        trial = self._queue.pop(0)
        if trial.name not in self._folder.trials():
            trial = self._begun(trial)
        config = trial_config(
            self._sweep,
            self._families[trial.family].config,
            trial.values,
            where=trial.name,
            more={
                **self._given[trial.seed][trial.family],
                "seed": trial.seed,
                **({"evaluation.episodes": self._num_held_out} if trial.of is not None else {}),
            },
        )
        folder = str((self._folder.path / trial.folder).absolute())
        return Work(
            name=trial.name,
            folder=folder,
            config=public(config),
            metric=self.metric.name,
            sign=self.metric.sign,
            parent=self._parent,
        )

    def _begun(self, trial: Trial) -> Trial:
        """Choose the values of a new trial, and write them down."""
        values: Values = dict(trial.values)
        if trial.of is None:
            space, tried = self._families[trial.family].space, self._folder.tried(trial.family)
            values = propose(self._sweep, trial.family, space, trial.number, tried)
        facts = {"trial": trial.name, "family": trial.family, "values": values, "number": trial.number}
        self._folder.journal.append("started", **facts, of=trial.of, seed=trial.seed)
        return self._folder.trials()[trial.name]

    def heard(self, trial: str, look: Look) -> bool:
        """Take a score, once, and decide; see `Crew`."""
        known = self._folder.trials()[trial]
        if any(line["fraction"] == look.fraction for line in known.looks):
            return True
        now = Score(trial=trial, family=known.family, fraction=look.fraction, value=look.score)
        continues = known.of is not None or goes_on(self._sweep, self._folder.scores(), now)
        line = {"fraction": look.fraction, "score": look.score, "labels": look.labels, "metrics": dict(look.metrics)}
        self._folder.journal.append("heard", trial=trial, **line, continues=continues)
        if not continues:
            self._end(trial, "stopped")
        return continues

    def ended(self, trial: str, fault: str | None) -> None:
        """Take the end of a trial; see `Crew`."""
        if self._folder.trials()[trial].ended is None:
            self._end(trial, "done" if fault is None else "failed", **({} if fault is None else {"fault": fault}))

    def _end(self, trial: str, how: str, **facts: Any) -> None:
        self._folder.journal.append("ended", trial=trial, how=how, **facts)
        ended = self._folder.trials()[trial]
        score = "no score" if ended.score is None else f"{self.metric.name} {self.metric.sign * ended.score:.3f}"
        say(self._session.progress, f"{trial}: {how}, {score}{'; ' + ended.fault if ended.fault else ''}")
        self._tell()

    def _tell(self) -> None:
        """Show how many trials of this step have ended, and the best score."""
        trials = [trial for trial in self._folder.trials().values() if (trial.of is None) == (self._is_search)]
        done = [trial for trial in trials if trial.ended is not None]
        scores = [trial.score for trial in done if trial.score is not None]
        figures = {"best": self.metric.sign * max(scores)} if scores else {}
        self._session.progress("search" if self._is_search else "confirm", len(done), self._num_planned, **figures)

    @property
    def _is_search(self) -> bool:
        return len(self._given) == 1 and self._sweep.seed in self._given


def _reports_success(sweep: SweepConfig, session: Session) -> bool:
    """Return whether an episode says if it was a success; it is only run where that matters."""
    if sweep.metric != "tune/success_rate":
        return False
    return session.evaluate("random", 1, purpose=Purpose.TUNE).successes is not None


def _held_out(sweep: SweepConfig, family: str) -> int:
    """Return the recipe's number of held-out episodes, which trials of the search leave alone."""
    from distil.runconfig import load_config

    own = sweep.families[family]
    return load_config(own.recipe or sweep.recipe, {**sweep.set, **own.set}).evaluation.episodes or _EPISODES

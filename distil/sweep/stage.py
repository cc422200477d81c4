"""The steps of a sweep: what is prepared, which trials come next and which ones go on, and what the confirmations say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distil.config import public
from distil.errors import InputError
from distil.report import table
from distil.runconfig import load_config
from distil.rundir import RunDir
from distil.session import Session
from distil.sweep.config import SweepConfig
from distil.sweep.crew import Crew
from distil.sweep.driver import run_trials
from distil.sweep.families import Family, Metric, trial_config, trial_cpus
from distil.sweep.prepare import measure_baselines, share
from distil.sweep.ranking import Confirmed, best, rank
from distil.sweep.search import num_trials, propose
from distil.sweep.space import Values
from distil.sweep.state import SweepDir, Trial
from distil.sweep.stopping import Score, goes_on
from distil.sweep.trial import Look, Work
from distil.types import say, show

_EPISODES = 50
_SHOWN = 5  # trials that have ended, in the live table


class Stage(Crew):
    """The steps of one sweep; while trials run, it decides which ones come next and which ones go on."""

    def __init__(
        self,
        sweep: SweepConfig,
        found: Sequence[Family],
        folder: SweepDir,
        session: Session,
        metric: Metric,
        parent: str,
        attempt: int = 0,
    ) -> None:
        self._sweep, self._folder, self._session, self._parent, self._attempt = sweep, folder, session, parent, attempt
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
        chosen = self._chosen()
        seeds = [self._sweep.seed + 1 + index for index in range(self._sweep.confirm.seeds)]
        granted = {seed: self._granted(seed) for seed in seeds} if chosen else {}
        wanted = [
            Trial(name=f"{trial.name}-seed-{seed}", family=trial.family, values=trial.values, of=trial.name, seed=seed)
            for seed in seeds
            for trial in chosen
        ]
        self._run(wanted, granted)
        return rank([found for trial in chosen if (found := self._confirmed(trial, seeds)) is not None])

    def _chosen(self) -> list[Trial]:
        """Return the trials whose configurations are confirmed."""
        return best(list(self._folder.trials().values()), self._sweep.confirm.best, by_labels=self._sweep.by_labels)

    def _confirmed(self, trial: Trial, seeds: Sequence[int]) -> Confirmed | None:
        """Return a configuration's scores on the held-out episodes; None if no run came to its end."""
        names = (self.metric.name, self.metric.held_out)  # a metric that held-out episodes do not have counts as it is
        scores, spent, runs = dict[int, float](), list[Mapping[str, float]](), list[str]()
        for seed in seeds:
            run = RunDir(self._folder.path / "confirm" / f"{trial.name}-seed-{seed}")
            if run.is_finished:
                reports = run.reports()
                found = [report.metrics[key] for key in names for report in reports if key in report.metrics]
                scores[seed] = self.metric.sign * found[-1]
                spent.append(reports[-1].spent.metrics())
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
        say(self._session.progress, f"{len(left)} runs: starting Ray Tune, up to half a minute")
        found = list(self._families.values())
        run_trials(
            self,
            num=len(left),
            concurrent=self._sweep.concurrent,
            resources=[{"CPU": 1.0}] * trial_cpus(found),
            retries=self._sweep.retries,
            address=found[0].config.rollouts.address,
            labels=found[0].config.rollouts.labels,
        )

    def next(self) -> Work | None:
        """Return the next trial; see `Crew`. One whose values contradict each other has failed."""
        while self._queue:
            trial = self._queue.pop(0)
            if trial.name not in self._folder.trials():
                trial = self._begun(trial)
            try:
                return self._work(trial)
            except InputError as error:
                self.ended(trial.name, str(error))
        return None

    def _work(self, trial: Trial) -> Work:
        held_out = {"evaluation.episodes": self._num_held_out} if trial.of is not None else {}
        more = {**self._given[trial.seed][trial.family], "seed": trial.seed, **held_out}
        config = trial_config(self._sweep, self._families[trial.family].config, trial.values, where=trial.name, more=more)
        return Work(
            name=trial.name,
            folder=str((self._folder.path / trial.folder).absolute()),
            config=public(config),
            metric=self.metric.name,
            sign=self.metric.sign,
            parent=self._parent,
            attempt=self._attempt,
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
        before = next((line for line in known.looks if line["fraction"] == look.fraction), None)
        if before is not None:
            return self._follow(trial, continues=bool(before["continues"]))
        now = Score(trial=trial, family=known.family, fraction=look.fraction, value=look.score)
        continues = known.of is not None or goes_on(self._sweep, self._folder.scores(), now)
        line = {"fraction": look.fraction, "score": look.score, "labels": look.labels, "kept": look.kept}
        self._folder.journal.append("heard", trial=trial, **line, metrics=dict(look.metrics), continues=continues)
        self._tell()
        return self._follow(trial, continues=continues)

    def _follow(self, trial: str, *, continues: bool) -> bool:
        if not continues and self._folder.trials()[trial].ended is None:
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
        show(self._session.progress, self._table(trials) if len(done) < self._num_planned else "")
        self._session.progress("search" if self._is_search else "confirm", len(done), self._num_planned, **figures)

    def _table(self, trials: Sequence[Trial]) -> str:
        """Return the trials that run, and the best ones that have ended."""
        running = [trial for trial in trials if trial.ended is None]
        ended = [trial for trial in trials if trial.ended is not None and trial.score is not None]
        best_first = sorted(ended, key=lambda trial: -(trial.score or 0.0))[:_SHOWN]
        return table(
            [self._row(trial) for trial in (*running, *best_first)], f"{self._sweep.name}: running, and the best so far"
        )

    def _row(self, trial: Trial) -> dict[str, str | float | None]:
        score = None if trial.score is None else round(self.metric.sign * trial.score, 3)
        reached = f"{trial.looks[-1]['fraction']:.0%}" if trial.looks else "0%"
        return {"trial": trial.name, "state": trial.ended or reached, self.metric.name: score}

    @property
    def _is_search(self) -> bool:
        return len(self._given) == 1 and self._sweep.seed in self._given


def _held_out(sweep: SweepConfig, family: str) -> int:
    """Return the recipe's number of held-out episodes, which trials of the search leave alone."""
    own = sweep.families[family]
    return load_config(own.recipe or sweep.recipe, {**sweep.set, **own.set}).evaluation.episodes or _EPISODES

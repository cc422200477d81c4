"""One run of a sweep, in whatever process it is: it tells every score, and can be stopped at each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distil import run as loop
from distil.config import to_yaml, validate
from distil.fence import Attempt
from distil.parts import tracked
from distil.plans import Metrics, RoundReport, Spent
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.session import Session
from distil.validation import check_new_run


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a process needs to carry out a trial. Plain data."""

    name: str
    folder: str  # of its run
    config: Mapping[str, Any]  # of the run, as JSON data
    metric: str
    sign: float
    parent: str  # in the tracker: whose process sends what this one records
    attempt: int = 0  # of the sweep that the trial is carried out for; 0: it does not matter

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Work:
        """Return what `to_json` gave."""
        return cls(**json.loads(text))


@dataclass(frozen=True, kw_only=True)
class Look:
    """A score of an unfinished or finished trial, and what it had spent."""

    fraction: float  # of its own budget
    score: float  # larger is better
    labels: int
    metrics: Metrics
    kept: bool = True  # the run would end with this policy

    def to_json(self) -> str:
        """Return it as text: Tune would change the keys of a mapping."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Look:
        """Return what `to_json` gave."""
        return cls(**json.loads(text))


Tell = Callable[[Look], None]


def carry_out(work: Work, tell: Tell) -> None:
    """Start the run, or continue it; `tell` gets each score, those of before a resume included, and may raise to stop it.

    A process of an earlier attempt of the sweep that is still at it stops first.

    Raises:
        InputError, RunError: as for `distil.api.train`.
        SupersededError: a newer attempt has taken the sweep over.
    """
    config = validate(RunConfig, work.config)
    budget, rundir = config.budget(), RunDir(Path(work.folder))
    if work.attempt:
        Attempt(rundir.path.parent.parent, work.attempt).check()
    algorithm, told = config.algorithm, set[float]()

    def look(spent: Spent, metrics: Metrics, *, kept: bool = True) -> None:
        if work.metric not in metrics:
            return
        fraction = min(1.0, algorithm.fraction(spent, budget))
        if fraction not in told:
            told.add(fraction)
            score = work.sign * metrics[work.metric]
            facts = {**spent.metrics(), **metrics}
            tell(Look(fraction=fraction, score=score, labels=spent.expert_labels, metrics=facts, kept=kept))

    with Session(config) as session:
        if not rundir.is_run:
            check_new_run(config, session.spec)
            rundir = RunDir.create(rundir.path.parent, config.name, to_yaml(config), folder=rundir.name)
        with rundir.lock(take=True), tracked(config, rundir, parent=work.parent) as tracker:
            for spent, metrics, kept in _history(rundir):
                look(spent, metrics, kept=kept)
            if rundir.is_finished:
                return
            with closing(loop.rounds(config, rundir, session, tracker, look)) as reports:
                for report in reports:
                    look(report.spent, report.metrics, kept=_is_kept(report))


def _is_kept(report: RoundReport) -> bool:
    return report.chosen in (None, report.index)


def _history(rundir: RunDir) -> Iterator[tuple[Spent, Metrics, bool]]:
    """Yield what the run has been scored on so far, and whether it would end with that policy."""
    reports = iter(rundir.reports())
    for line in rundir.journal():
        if line["kind"] == "watched":
            yield Spent(**line["spent"]), line["metrics"], True
        elif line["kind"] == "reported":
            report = next(reports)
            yield report.spent, report.metrics, _is_kept(report)

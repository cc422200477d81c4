"""The parts that carry out the rounds of a run: opened together, and closed however the run ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from distil.errors import SupersededError
from distil.learners import Learner, make_learner
from distil.losscurve import LossCurve
from distil.plans import Metrics, Spent
from distil.questions import Questions
from distil.recorded import NOTE, Totals, about_experiment, parameters, result, run_tags
from distil.redaction import redact
from distil.runconfig import RunConfig
from distil.rundata import RunData, open_data
from distil.rundir import RunDir
from distil.session import Session
from distil.store import StoreSpec
from distil.tracking import Status, Tracker
from distil.types import Progress, say, silent

Heard = Callable[[Spent, Metrics], None]  # what the run has spent, and metrics `tune/*`


def unheard_score(spent: Spent, metrics: Metrics) -> None:
    """Listen to no score."""


class Clock:
    """Seconds that a run has taken, those of its earlier processes included."""

    def __init__(self, before: Spent) -> None:
        self._wall_s = time.perf_counter() - before.wall_s
        self._cpu_s = time.process_time() - before.cpu_s

    def read(self, spent: Spent) -> Spent:
        """Return `spent` with the seconds until now."""
        return replace(spent, wall_s=time.perf_counter() - self._wall_s, cpu_s=time.process_time() - self._cpu_s)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What carries out the rounds of one run."""

    config: RunConfig
    rundir: RunDir
    session: Session  # workers and baselines, which runs may share
    data: RunData  # collects episodes; gives updates their streams
    learner: Learner  # trains the policy
    tracker: Tracker  # where metrics and files go
    losses: LossCurve
    totals: Totals
    questions: Questions  # counts queries to experts that collect no episodes
    heard: Heard  # gets scores while an update learns
    clock: Clock


@contextmanager
def assemble(
    config: RunConfig, rundir: RunDir, session: Session, tracker: Tracker, heard: Heard = unheard_score
) -> Iterator[Parts]:
    """Open the data and the learner of the run in `rundir`; a resumed run continues from its newest checkpoint."""
    reports = rundir.reports()
    losses, clock = LossCurve(report.metrics for report in reports), Clock(reports[-1].spent if reports else Spent())

    def progress(what: str, done: int, total: int, /, **figures: float) -> None:
        session.progress(what, done, total, **figures)
        rundir.heed()
        if what == "update" and figures and done < total:  # the report has the last step, which early stopping brings forward
            step = losses.add(done, figures)
            tracker.log({f"train/{name}": value for name, value in figures.items()}, step=step)

    with closing(open_data(config, rundir, session)) as data:
        if config.env is None:
            say(session.progress, "no env is set: the policy is trained on the stored episodes, and can't be evaluated")
        with closing(_make_learner(config, rundir, session, data.spec, progress)) as learner:
            yield Parts(
                config=config,
                rundir=rundir,
                session=session,
                data=data,
                learner=learner,
                tracker=tracker,
                losses=losses,
                totals=Totals(report.metrics for report in rundir.reports()),
                questions=Questions(rundir, session),
                heard=heard,
                clock=clock,
            )


_FAILED: Status = "FAILED"


@contextmanager
def tracked(config: RunConfig, rundir: RunDir, progress: Progress = silent, *, parent: str | None = None) -> Iterator[Tracker]:
    """Open the run in the tracker, and close it with the status that it ended with.

    Args:
        config: of the run.
        rundir: its folder.
        progress: shown in one line that MLflow does not answer.
        parent: id of the run that this one belongs to, whose process sends what this one records (`distil.tracking.grouped`).
    """
    tracker = config.tracking.build(
        config.name, rundir.path, sends=parent is None, note=partial(say, progress), check=rundir.check
    )
    earlier = rundir.find("tracked", 0)  # distil 0.1 kept MLflow's id of the run here
    status, note, about = _FAILED, "", ""
    try:
        tags, run_id = run_tags(config, rundir), earlier["run_id"] if earlier else None
        tracker.start(rundir.name, parameters(config), tags, parent=parent, run_id=run_id)
        yield tracker
        status = "FINISHED"
        if reports := rundir.reports():
            note, about = result(config, reports[-1]), about_experiment(config, reports[-1])
    except (KeyboardInterrupt, SupersededError):
        status, note = "KILLED", "Interrupted; --resume continues it."
        raise
    except Exception as error:
        note = redact(f"Failed: {' '.join(str(error).split())}")
        raise
    except BaseException:  # Ray Tune ends the thread of a trial that the sweep stops
        status, note = "KILLED", "Stopped before its end."
        raise
    finally:
        tracker.finish(status, {NOTE: note} if note else {}, about)


def _make_learner(config: RunConfig, rundir: RunDir, session: Session, spec: StoreSpec, progress: Progress) -> Learner:
    return make_learner(
        config.learner,
        config.policy,
        spec,
        rundir.checkpoints,
        objective=config.objective,
        seed=config.seed,
        resume=rundir.checkpoints.exists(),
        progress=progress,
        note=partial(say, session.progress),
        start_timeout_s=config.rollouts.start_timeout_s,
        check=rundir.check,
    )

"""THE loop: an algorithm decides the next round, and this file has it carried out. Read this file first.

A round collects demonstrations into the store, updates the policy on a snapshot of it, and evaluates the policy on held-out
episodes. What is reported in the run's journal is durable: a run that was killed goes on from there.

    config ─▶ algorithm.next_round(last) ─▶ Round(collect, update, evaluate)
                     ▲                          │ collector ─▶ store ─▶ snapshot ─▶ learner ─▶ policy ─▶ evaluation
                     └───────── RoundReport ────┘
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np

from distil.algorithms.base import Algorithm
from distil.learners import Learner, make_learner
from distil.plans import CollectPlan, EvaluatePlan, Round, RoundReport
from distil.policies.checkpoint import save_policy
from distil.report import Curve, plot_curves
from distil.rollouts import Collector
from distil.rollouts.video import record_video
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.seeding import Purpose, episode_seeds
from distil.session import Session
from distil.store import Snapshot, Store
from distil.tracking import DatasetInfo, Status, Tracker


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What carries out the rounds of one run."""

    config: RunConfig
    rundir: RunDir
    session: Session
    store: Store
    collector: Collector
    learner: Learner
    tracker: Tracker
    losses: Mapping[str, Mapping[int, float]]  # name -> gradient step -> value, of this process


def train(config: RunConfig, rundir: RunDir, session: Session) -> None:
    """Run the algorithm to its end in the folder `rundir`, from wherever its journal says it is.

    Raises:
        InputError: the configuration, the store and the environment don't fit; another process holds the run.
        RunError: an environment, an expert, a worker or the disk failed. What was committed is kept.
    """
    started = time.perf_counter()
    with rundir.lock(), _assemble(config, rundir, session) as parts:
        algorithm: Algorithm = config.algorithm.build(config.budget())
        reports = rundir.reports()
        last = reports[-1] if reports else None
        while (todo := algorithm.next_round(last)) is not None:
            last = carry_out(todo, parts, started)
            rundir.append("reported", round=todo.index, report=last.to_json())
            parts.tracker.log(last.metrics, step=todo.index)
        _keep_results(parts)


def carry_out(todo: Round, parts: Parts, started: float) -> RoundReport:
    """Collect, update, evaluate: carry out one round and report it."""
    metrics: dict[str, float] = {}
    snapshot = _collect(todo, parts, metrics)
    if todo.update is not None:
        metrics |= parts.learner.update(todo.update, snapshot)
        save_policy(parts.learner.policy, parts.rundir.policy)
    if todo.evaluate is not None:
        metrics |= _evaluate(todo.evaluate, parts)
    metrics |= {
        "budget/demonstrations": snapshot.num_episodes,
        "budget/env_steps": snapshot.num_transitions,
        "budget/expert_labels": int(snapshot.episodes.num_labelled.sum()),
        "budget/wall_s": time.perf_counter() - started,
    }
    version = parts.learner.policy.version
    return RoundReport(index=todo.index, snapshot=snapshot.version, policy_version=version, metrics=metrics)


def _collect(todo: Round, parts: Parts, metrics: dict[str, float]) -> Snapshot:
    """Return the episodes to train on. The version is pinned: a resumed round reads what it read before."""
    pinned = parts.rundir.find("collected", todo.index)
    if pinned is not None:
        version = pinned["snapshot"]
    elif todo.collect is not None:
        report = parts.collector.collect(todo.collect, parts.learner.policy)
        version = report.snapshot
        metrics |= report.metrics
    else:
        version = None
    snapshot = parts.store.snapshot(version)
    if pinned is None:
        parts.rundir.append("collected", round=todo.index, snapshot=snapshot.version)
    chosen = select(snapshot, parts.collector, todo.collect)
    path, episodes = str(parts.store.path.resolve()), chosen.num_episodes
    facts = {"episodes": episodes, "transitions": chosen.num_transitions, "version": chosen.version}
    parts.tracker.log(
        {}, todo.index, dataset=DatasetInfo(name=parts.store.path.name, path=path, digest=chosen.digest, profile=facts)
    )
    return chosen


def select(snapshot: Snapshot, collector: Collector, plan: CollectPlan | None) -> Snapshot:
    """Return the plan's own episodes of a store that may hold others too; all of them without a plan."""
    if plan is None:
        return snapshot
    wanted = [item.uid for item in collector.items(plan)]
    return snapshot.select(np.flatnonzero(np.isin(snapshot.episodes.uid, wanted)))


def _evaluate(plan: EvaluatePlan, parts: Parts) -> dict[str, float]:
    session, num = parts.session, plan.num_episodes
    baselines = session.baselines(num) if plan.baselines else None
    started = time.perf_counter()
    result = session.evaluate("policy", num, parts.learner.policy)
    metrics = result.metrics(baselines) | {"time/evaluate_s": time.perf_counter() - started}
    if baselines is not None:
        metrics |= {"eval/random_return_mean": baselines.random, "eval/expert_return_mean": baselines.expert}
    return metrics


def _keep_results(parts: Parts) -> None:
    """Copy configuration, policy, loss curve and video to the tracker."""
    rundir, tracker = parts.rundir, parts.tracker
    tracker.artifact(rundir.path / "config.yaml")
    tracker.artifact(rundir.policy, "policy")
    curves = {name: Curve(x=list(points), y=list(points.values())) for name, points in parts.losses.items() if len(points) > 1}
    if curves:
        tracker.artifact(plot_curves(curves, rundir.path / "loss.png", ylabel="loss", title=rundir.name, log_y=True))
    if parts.config.evaluation.video:
        seed = episode_seeds(Purpose.EVALUATE, 1)[0]
        tracker.artifact(record_video(parts.config.env, parts.learner.policy, seed, rundir.path / "video.mp4"))


@contextmanager
def _assemble(config: RunConfig, rundir: RunDir, session: Session) -> Iterator[Parts]:
    store = session.store(config)
    tracker = config.tracking.build(config.name)
    earlier = rundir.find("tracked", 0)
    params = config.model_dump(mode="json")
    run_id = tracker.start(rundir.name, params, run_id=earlier["run_id"] if earlier else None)
    if earlier is None:
        rundir.append("tracked", round=0, run_id=run_id)

    losses: dict[str, dict[int, float]] = {}

    def progress(what: str, done: int, total: int, /, **figures: float) -> None:
        session.progress(what, done, total, **figures)
        if what == "update" and figures:
            for name in figures.keys() & {"loss", "validation_loss"}:
                losses.setdefault(name, {})[done] = figures[name]
            tracker.log({f"train/{name}": value for name, value in figures.items()}, step=done)

    resume = rundir.checkpoints.exists()
    learner = make_learner(
        config.learner, config.policy, store.spec, rundir.checkpoints, seed=config.seed, resume=resume, progress=progress
    )
    status: Status = "FAILED"
    try:
        with closing(learner):
            yield Parts(
                config=config,
                rundir=rundir,
                session=session,
                store=store,
                collector=session.collector(config, store),
                learner=learner,
                tracker=tracker,
                losses=losses,
            )
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.finish(status)

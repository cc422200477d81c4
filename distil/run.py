"""THE loop: an algorithm decides the next round, and this file carries it out. Read this file first.

A round collects episodes into a store, updates the policy on pinned snapshots, and evaluates the policy on other episodes.
What the run's journal reports is durable: a run that was killed continues from there.

    config ─▶ algorithm.next_round(last) ─▶ Round(collect, update, evaluate)
                     ▲                          │ collector ─▶ store ─▶ snapshot ─▶ learner ─▶ policy ─▶ evaluation
                     └───────── RoundReport ────┘
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from distil.algorithms.base import Algorithm
from distil.objectives.config import InteractionConfig
from distil.parts import Heard, Parts, assemble, tracked, unheard_score
from distil.plans import CheckPlan, ConfirmPlan, EvaluatePlan, Metrics, Round, RoundReport, Spent, UpdatePlan, WatchPlan
from distil.policies.checkpoint import load_policy_ref, save_policy
from distil.policies.spec import PolicyRef
from distil.rewards.config import REWARD
from distil.rewards.ref import copy_reward, save_reward
from distil.rollouts.evaluation import score_low
from distil.rollouts.video import record_video
from distil.runconfig import RunConfig
from distil.rundata import describe
from distil.rundir import RunDir
from distil.seeding import Purpose, episode_seeds
from distil.session import Session
from distil.store import Snapshot, Store
from distil.tracking import Tracker
from distil.types import say, within

DISTANCE, LEARNED = "tune/wasserstein", "tune/learned_return_mean"
_BY = {"distance": DISTANCE, "return": "tune/return_mean", "learned": LEARNED}


def train(config: RunConfig, rundir: RunDir, session: Session, parent: str | None = None, *, take: bool = False) -> None:
    """Run the algorithm to its end in the folder `rundir`, from the last round that its journal reports.

    Args:
        config: of the run.
        rundir: its folder.
        session: workers and baselines.
        parent: id of the run that it belongs to, whose process sends what it records (`tracking.grouped`).
        take: take the run over from another process that runs it.

    Raises:
        InputError: the configuration, the store and the environment don't fit; another process holds the run.
        SupersededError: a newer attempt has taken the run over.
        RunError: an environment, an expert, a worker or the disk failed. What was committed is kept.
    """
    with (
        rundir.lock(take=take, note=partial(say, session.progress)),
        tracked(config, rundir, session.progress, parent=parent) as tracker,
        closing(rounds(config, rundir, session, tracker)) as reports,
    ):
        for _ in reports:
            pass


def rounds(
    config: RunConfig, rundir: RunDir, session: Session, tracker: Tracker, heard: Heard = unheard_score
) -> Generator[RoundReport, None, None]:
    """Carry out the rounds that are left of a run, and yield each one's report once it is durable.

    The caller holds the run's folder (`rundir.lock`) and has opened the tracker (`tracked`). It may stop early: closing the
    generator stops the run's processes, and the run can be resumed. `heard` gets the scores while an update learns.
    """
    algorithm: Algorithm = config.algorithm.build(config.budget(session.spec.max_episode_steps))
    if rundir.is_finished and algorithm.next_round(next(reversed(rundir.reports()), None)) is None:
        return  # repeated after its end, as jobs are that are tried again: no learners start, only to be stopped
    with assemble(config, rundir, session, tracker, heard) as parts:
        last = next(reversed(rundir.reports()), None)
        while (todo := algorithm.next_round(last)) is not None:
            with within(session.progress, rundir.name, _place(todo, config)):
                last = carry_out(todo, parts)
            rundir.append("reported", round=todo.index, report=last.to_json())
            _log(last, todo, parts)
            yield last
        _keep_results(parts)
        rundir.finish(last.metrics if last else {})
        parts.data.release()


def _place(todo: Round, config: RunConfig) -> str:
    """Return what people call a round; nothing for the only one."""
    num = config.algorithm.num_rounds
    if num is None:
        return f"round {todo.index + 1}"
    return ("" if num == 1 else f"round {todo.index + 1} of {num}") if todo.index < num else "final evaluation"


def carry_out(todo: Round, parts: Parts) -> RoundReport:
    """Check the expert, collect, update, evaluate: carry out one round and report it."""
    metrics = dict[str, float]()
    if todo.check is not None:
        metrics |= _check(todo, todo.check, parts)
    metrics |= parts.data.collect(todo, _last_policy(todo, parts))
    ahead = parts.data.num_ahead
    if todo.update is not None:
        metrics |= _update(todo, todo.update, parts)
    scored = _evaluate(todo, todo.evaluate, parts) if todo.evaluate is not None else _Scored()
    metrics |= scored.metrics
    if todo.compare and todo.evaluate is None and (distance := parts.data.distance(todo.index)) is not None:
        metrics[DISTANCE] = distance
    quality, chosen = _choose(todo, metrics, parts)
    watched = sum(line["num_steps"] for line in parts.rundir.journal("watched") if line["round"] == todo.index)
    spent, kinds = _spent(parts, scored.num_steps + watched)
    return RoundReport(
        index=todo.index,
        snapshot=parts.data.version,
        policy_version=_ending(parts).version if todo.is_final else parts.learner.policy.version,
        spent=spent,
        ahead=ahead,
        is_final=todo.is_final,
        score=scored.score,
        score_low=scored.low,
        num_looks=scored.num_looks,
        quality=quality,
        chosen=chosen,
        episode_length=parts.data.episode_length(todo.index),
        metrics=metrics | kinds | spent.metrics() | ({"collect/ahead": ahead} if ahead else {}),
    )


def _check(todo: Round, plan: CheckPlan, parts: Parts) -> dict[str, float]:
    """Measure the expert, once a run; return metrics. RunError if it is not good enough to learn from."""
    known = parts.rundir.find("checked", todo.index)
    if known is not None:
        return dict(known["metrics"])
    with parts.questions.counted("check", todo.index):
        metrics = parts.session.check_experts(plan)
    parts.rundir.append("checked", round=todo.index, metrics=metrics)
    return metrics


def _last_policy(todo: Round, parts: Parts) -> PolicyRef:
    """Return the policy that the last round ended with; the learner of a resumed run may be one update further."""
    kept = parts.rundir.policy_after(todo.index - 1)
    if not todo.ahead or not kept.is_dir():
        return parts.learner.policy
    return load_policy_ref(kept, trust=parts.config.policy.targets)


def _update(todo: Round, plan: UpdatePlan, parts: Parts) -> dict[str, float]:
    """Train on the plan's streams and keep the policy; return metrics."""
    streams = parts.data.streams(plan)
    for name, stream in plan.streams.items():
        for part in streams[name].parts if stream.source == "demos" else ():
            parts.config.algorithm.check_demonstrations(part.episodes)
    datasets, num_episodes = describe(streams)
    for dataset in datasets:
        parts.tracker.log({}, plan.round, dataset=dataset)
    metrics = {**parts.learner.update(plan, streams, partial(_watch, todo, plan.watch, parts)), **_watched(todo, parts)}
    parts.losses.finish_update(metrics)
    save_policy(parts.learner.policy, parts.rundir.policy, parts.rundir.check)
    _save_reward(parts.rundir.reward, parts)
    if parts.config.overlap:
        save_policy(parts.learner.policy, parts.rundir.policy_after(todo.index), parts.rundir.check)
        parts.rundir.forget_policies(before=todo.index - 1 - parts.config.overlap)
    return {**metrics, "train/episodes": num_episodes}


def _watch(todo: Round, plan: WatchPlan | None, parts: Parts, step: int, policy: PolicyRef) -> None:
    """Score the policy of an update that has taken `step` steps, on tuning episodes, unless the journal has that score."""
    assert plan is not None
    lines = parts.rundir.journal("watched")
    known = next((line for line in lines if (line["round"], line["step"]) == (todo.index, step)), None)
    if known is None:
        metrics, _, num_steps = _measure(todo, plan.num_episodes, plan.baselines, Purpose.TUNE, policy, parts)
        spent = parts.clock.read(replace(parts.data.spent(), gradient_steps=parts.losses.num_steps + step))
        known = {"step": step, "metrics": metrics, "num_steps": num_steps, "spent": asdict(spent)}
        parts.rundir.append("watched", round=todo.index, **known)
        parts.tracker.log(metrics, step=spent.gradient_steps)
    parts.heard(Spent(**known["spent"]), known["metrics"])


def _watched(todo: Round, parts: Parts) -> Metrics:
    """Return the last score while the round's update learned."""
    found = parts.rundir.find("watched", todo.index)
    return {} if found is None else found["metrics"]


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """What an evaluation found: metrics for people, the rest for the algorithm to decide by."""

    metrics: Metrics = field(default_factory=dict)
    score: float | None = None
    low: float | None = None
    num_looks: int = 0
    num_steps: int = 0  # of the policy's episodes


def _evaluate(todo: Round, plan: EvaluatePlan, parts: Parts) -> _Scored:
    """Score the policy; on tuning episodes, take a second look at a score that reaches the plan's target."""
    purpose, num = Purpose.EVALUATE if plan.held_out else Purpose.TUNE, plan.num_episodes
    policy = _ending(parts) if plan.held_out else parts.learner.policy
    with parts.data.looking(todo) as store:
        metrics, score, num_steps = _measure(todo, num, plan.baselines, purpose, policy, parts, store)
        if store is not None:
            metrics |= _looked(todo, store.snapshot(), parts)
    if plan.held_out or score is None:
        return _Scored(metrics=metrics, num_steps=num_steps)
    if plan.confirm is None:
        return _Scored(metrics=metrics, score=score, num_steps=num_steps)
    if score < plan.confirm.target:
        return _Scored(metrics=metrics, score=score, num_looks=plan.confirm.num_before, num_steps=num_steps)
    low, more = _confirm(todo, plan.confirm, parts)
    if low is not None:
        metrics["tune/normalised_low"] = low
    return _Scored(metrics=metrics, score=score, low=low, num_looks=plan.confirm.num_before + 1, num_steps=num_steps + more)


def _looked(todo: Round, episodes: Snapshot, parts: Parts) -> dict[str, float]:
    """Return what tuning episodes tell beside their returns: their distance to the demonstrations, or their learned return."""
    distance = parts.data.distance(todo.index, episodes) if todo.compare else None
    found = {} if distance is None else {DISTANCE: distance}
    if todo.choose != "learned":
        return found
    from distil.rewards.function import RewardFunction  # needs torch

    objective, reward = parts.config.objective, parts.learner.reward
    assert isinstance(objective, InteractionConfig)
    assert reward is not None
    function, discount = RewardFunction(reward), objective.step.discount
    returns = [function.discounted(episodes.episode(index), discount) for index in range(episodes.num_episodes)]
    return found | {LEARNED: sum(returns) / len(returns)}


def _measure(
    todo: Round,
    num: int,
    with_baselines: bool,
    purpose: Purpose,
    policy: PolicyRef,
    parts: Parts,
    into: Store | None = None,
) -> tuple[dict[str, float], float | None, int]:
    """Return a policy's metrics on a purpose's episodes, its normalised score (None without baselines), and its steps."""
    session, prefix = parts.session, "tune" if purpose is Purpose.TUNE else "eval"
    with parts.questions.counted(prefix, todo.index):
        baselines = session.baselines(num, purpose) if with_baselines else None
    started = time.perf_counter()
    result = session.evaluate("policy", num, policy, purpose, act=parts.config.evaluation.act, into=into)
    metrics = {**result.metrics(baselines, prefix), "time/evaluate_s": time.perf_counter() - started}
    num_steps = int(result.lengths.sum())
    if baselines is None:
        return metrics, None, num_steps
    metrics |= {f"{prefix}/random_return_mean": baselines.random, f"{prefix}/expert_return_mean": baselines.expert}
    return metrics, baselines.normalise(result.mean), num_steps


def _confirm(todo: Round, plan: ConfirmPlan, parts: Parts) -> tuple[float | None, int]:
    """Return a lower bound of the policy's score, from more tuning episodes, and the number of their steps."""
    session, num = parts.session, plan.num_episodes
    with parts.questions.counted("tune", todo.index):
        expert = max(session.scores(num, Purpose.TUNE).values(), key=lambda result: result.mean)
        random = session.score("random", num, Purpose.TUNE)
    policy = session.evaluate("policy", num, parts.learner.policy, Purpose.TUNE, act=parts.config.evaluation.act)
    return score_low(policy, expert, random, plan.confidence), int(policy.lengths.sum())


def _choose(todo: Round, metrics: Metrics, parts: Parts) -> tuple[float | None, int | None]:
    """Keep the round's policy if it is the best so far; return how good it is, and the round of the best one.

    The best one before it stays until a later round's: this one only counts once its report is durable.
    """
    reports = parts.rundir.reports()
    chosen = reports[-1].chosen if reports else None
    if todo.choose is None or (by := _BY[todo.choose]) not in metrics:
        return None, chosen
    quality = -metrics[by] if by == DISTANCE else metrics[by]
    if quality > max((report.quality for report in reports if report.quality is not None), default=-math.inf):
        if chosen is not None:
            parts.rundir.forget_policies(before=chosen)
        save_policy(parts.learner.policy, parts.rundir.policy_after(todo.index), parts.rundir.check)
        _save_reward(parts.rundir.policy_after(todo.index), parts)
        chosen = todo.index
    return quality, chosen


def _save_reward(folder: Path, parts: Parts) -> None:
    """Keep the reward that the learner has learned, if it learns one."""
    if (reward := parts.learner.reward) is not None:
        save_reward(reward, folder, parts.rundir.check)


def _ending(parts: Parts) -> PolicyRef:
    """Return the policy that the run ends with: the last one, unless another was chosen."""
    last = next(reversed(parts.rundir.reports()), None)
    if last is None or last.chosen is None:
        return parts.learner.policy
    return load_policy_ref(parts.rundir.policy_after(last.chosen), trust=parts.config.policy.targets)


def _spent(parts: Parts, num_evaluated: int) -> tuple[Spent, dict[str, float]]:
    """Return what the run has spent so far, with the steps of this round's evaluation, and what it has asked experts for."""
    spent = parts.data.spent()
    queries = {"collect": spent.expert_queries} | parts.questions.totals()
    total = sum(queries.values())
    before = next(reversed(parts.rundir.reports()), None)
    evaluated = num_evaluated + (before.spent.evaluation_steps if before is not None else 0)
    spent = replace(
        spent,
        expert_queries=total,
        gradient_steps=parts.losses.num_steps,
        evaluation_steps=evaluated,
    )
    return parts.clock.read(spent), {f"expert/queries_{what}": float(num) for what, num in queries.items() if num}


def _log(report: RoundReport, todo: Round, parts: Parts) -> None:
    """Record a report against the run's gradient steps, as what was recorded while an update learned: its scores are, too."""
    watched = _watched(todo, parts) if todo.update is not None and todo.update.watch is not None else {}
    metrics = parts.totals.add(report.metrics)
    parts.tracker.log({name: value for name, value in metrics.items() if name not in watched}, step=parts.losses.num_steps)


def _keep_results(parts: Parts) -> None:
    """Let the run's policy and reward be those that it ends with; copy them, configuration, losses and video to the tracker."""
    rundir, tracker, policy = parts.rundir, parts.tracker, _ending(parts)
    rundir.check()
    tracker.artifact(rundir.path / "config.yaml")
    chosen = next((report.chosen for report in reversed(rundir.reports())), None)
    if chosen is not None:
        save_policy(policy, rundir.policy, rundir.check)
        if (rundir.policy_after(chosen) / REWARD).is_file():
            copy_reward(rundir.policy_after(chosen), rundir.reward, rundir.check)
        say(parts.session.progress, f"the run ends with the best policy that it scored, that of round {chosen + 1}")
    if rundir.policy.is_dir():  # an algorithm may end without an update
        tracker.artifact(rundir.policy, "policy")
    if rundir.reward.is_dir():
        tracker.artifact(rundir.reward, "reward")
    plot = parts.losses.plot(rundir.path / "loss.png", rundir.name)
    if plot is not None:
        tracker.artifact(plot)
    if parts.config.evaluation.video and parts.config.env is not None:
        seed = episode_seeds(Purpose.EVALUATE, 1)[0]
        tracker.artifact(record_video(parts.config.env, policy, seed, rundir.path / "video.mp4", name=rundir.name))

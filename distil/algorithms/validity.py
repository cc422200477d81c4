"""Whether a round that a user's algorithm returned can be carried out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, get_args

from distil.algorithms.base import Budget, Needs
from distil.plans import CheckPlan, CollectPlan, ConfirmPlan, EvaluatePlan, Round, Source, StreamPlan, Unit, UpdatePlan, Who
from distil.policies.config import ActMode

_PARTS = {"check": CheckPlan, "collect": CollectPlan, "update": UpdatePlan, "evaluate": EvaluatePlan}


def fault_of(todo: Any, index: int, budget: Budget, needs: Needs) -> str | None:
    """Return the first reason why a round can't be carried out, with the fix; None: there is none.

    Args:
        todo: what the algorithm returned, of whatever type.
        index: the one that the round should have.
        budget: what the run's configuration grants.
        needs: what the algorithm said before the run started.
    """
    if not isinstance(todo, Round):
        return f"next_round returned a {type(todo).__name__}, not a distil.plans.Round or None; fix it"
    faults = chain(_faults_of_parts(todo, index), _faults_of_means(todo, budget), _faults_of_stores(todo, budget, needs))
    return next(faults, None)


def _faults_of_parts(todo: Round, index: int) -> Iterator[str]:
    """Yield what is wrong with a round by itself."""
    if todo.index != index:
        yield f"its index is {todo.index}; return Round(index={index}): 0, and then last.index + 1"
    for name, kind in _PARTS.items():
        part = getattr(todo, name)
        if part is not None and not isinstance(part, kind):
            yield f"its {name} is a {type(part).__name__}, not a {kind.__name__} or None; fix it"
            return
        if isinstance(part, CollectPlan | UpdatePlan) and part.round != index:
            yield f"its {name}.round is {part.round}; set round={index}, which its seeds come from"
        for count in ("num_episodes", "num_steps"):
            if not _is_count(getattr(part, count, 1)):
                yield f"its {name}.{count} is {getattr(part, count)!r}; give a number of at least 1, or None for {name}"
    for number, plan in enumerate(todo.ahead, index + 1):
        if not isinstance(plan, CollectPlan) or plan.round != number or plan.into != "demos":
            yield f"its `ahead` must be CollectPlans into demos for the next rounds, in order; fix that of round {number}"
            return
    for collect in _collections(todo):
        for name, kinds in (("agent", Who), ("into", Source), ("act", ActMode), ("beta_unit", Unit)):
            if (value := getattr(collect, name)) not in get_args(kinds):
                yield f"its collect.{name} is {value!r}; use one of {', '.join(get_args(kinds))}"
        if not isinstance(collect.beta, int | float) or not 0 <= collect.beta <= 1:
            yield f"its collect.beta is {collect.beta!r}; give a chance from 0 to 1"
        if collect.agent == "random" and (collect.label or collect.beta or collect.gate is not None):
            yield 'its collect.label, beta and gate are for agent="policy", not for "random"; leave them out'
        for name in ("min_steps", "keep_steps"):
            value = getattr(collect, name)
            if value is not None and (collect.into != "agent" or not _is_count(value)):
                yield f'its collect.{name} is {value!r}; give a number of at least 1 and into="agent", or None'
    if todo.update is not None:
        yield from _faults_of_streams(todo.update, todo.collect)
    if todo.evaluate is not None and todo.evaluate.confirm is not None:
        yield from _faults_of_confirmation(todo.evaluate, todo.evaluate.confirm)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _collections(todo: Round) -> list[CollectPlan]:
    return [plan for plan in (todo.collect, *todo.ahead) if plan is not None]


def _faults_of_confirmation(evaluate: EvaluatePlan, confirm: Any) -> Iterator[str]:
    if not isinstance(confirm, ConfirmPlan) or not _is_count(confirm.num_episodes) or confirm.num_episodes < 2:
        yield f"its evaluate.confirm is {confirm!r}; give a ConfirmPlan with num_episodes of at least 2"
    elif not isinstance(confirm.confidence, float) or not 0.5 <= confirm.confidence < 1:
        yield f"its evaluate.confirm.confidence is {confirm.confidence!r}; give one from 0.5 to below 1"
    elif evaluate.held_out or not evaluate.baselines:
        yield "its evaluate.confirm needs a score on tuning episodes; set held_out=False and baselines=True"


def _faults_of_streams(update: UpdatePlan, collect: CollectPlan | None) -> Iterator[str]:
    if not update.streams:
        yield "its update has no streams; leave `streams` out to train on the demonstrations"
    for name, stream in update.streams.items():
        if not isinstance(stream, StreamPlan) or stream.source not in get_args(Source):
            yield f"its stream {name!r} is {stream!r}; give a StreamPlan whose source is one of {', '.join(get_args(Source))}"
            return
        kept = collect.keep_rounds if collect is not None and collect.into == "agent" else None
        if stream.source == "agent" and kept is not None and (stream.num_rounds or 0) > kept:
            yield f"its stream {name!r} reads {stream.num_rounds} rounds, collect.keep_rounds={kept}; keep as many"


def _faults_of_means(todo: Round, budget: Budget) -> Iterator[str]:
    """Yield what the round needs and the run's configuration doesn't grant."""
    plans = _collections(todo)
    if not budget.has_env and (plans or todo.evaluate is not None):
        yield "it collects or evaluates, and there is no environment; set env.id"
    asks = todo.check is not None or any(
        plan.agent == "expert" or plan.beta or (plan.label and plan.gate is None) for plan in plans
    )
    if not budget.has_expert and asks:
        yield "it asks an expert, and none is configured; set expert.kind"
    if todo.check is not None and not budget.may_check:
        yield "it checks the expert, which expert.paid=true rules out; follow budget.may_check"
    if todo.evaluate is not None and todo.evaluate.baselines and budget.has_expert and not budget.baselines:
        yield "its evaluate.baselines asks the expert, which the configuration rules out; set baselines=budget.baselines"


def _faults_of_stores(todo: Round, budget: Budget, needs: Needs) -> Iterator[str]:
    """Yield what can't be done with the run's stores."""
    plans = _collections(todo)
    if any(plan.into == "demos" for plan in plans) and budget.num_demonstrations is None and not needs.collects:
        yield 'it adds to the demonstrations; set algorithm.collects=true, or collect into="agent"'
    if len(todo.ahead) > needs.overlap:
        yield f"it has {len(todo.ahead)} rounds collected ahead; set algorithm.overlap={len(todo.ahead)}"
    own = todo.collect if todo.collect is not None and todo.collect.into == "agent" else None
    if own is not None and own.gate is not None:
        yield 'its collect.gate is fitted to demonstrations, so it can not be used with into="agent"; leave one of them out'
    if own is not None and own.keep_rounds is not None and own.keep_rounds < 1:
        yield f"its collect.keep_rounds is {own.keep_rounds}; keep at least 1"
    if todo.index == 0 and todo.update is not None and todo.update.reads("agent") and own is None:
        yield 'its update reads the agent\'s episodes before any are collected; collect into="agent" first'

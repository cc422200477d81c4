"""What a run learns from: its own store, which its rounds add to, or a mixture of stores that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from distil.errors import InputError, RunError
from distil.learners.data import Streams, demos
from distil.plans import DEMOS, CollectPlan, CollectReport, Metrics, Round, Spent
from distil.policies.checkpoint import load_policy_ref
from distil.policies.spec import PolicyRef
from distil.rollouts import (
    Collected,
    Collector,
    asked,
    demonstrations,
    from_json,
    given_demonstrations,
    select,
    spent,
    to_json,
)
from distil.runconfig import DataConfig, RunConfig
from distil.rundir import RunDir
from distil.session import Session
from distil.store import MixtureConfig, SelectionConfig, Snapshot, Store, StoreSpec
from distil.store.mixture import distinct
from distil.tracking import DatasetInfo
from distil.types import Progress, say


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What a round has to learn from. Versions are pinned: a resumed round reads what it read before."""

    everything: tuple[Snapshot, ...]  # that the run has used so far
    training: tuple[Snapshot, ...]  # what the round's update trains on
    mixture: MixtureConfig | None = None  # that the training parts are of; None: there is one part
    metrics: Metrics = field(default_factory=dict)  # of collecting
    spent: Spent  # on all the episodes that the run has used so far
    ahead: int = 0  # later rounds whose collection has begun
    num_queries: int = 0  # steps that an expert was asked about while the run's episodes were collected

    @property
    def version(self) -> int | None:
        """Version of the run's store; None: it has several."""
        return None if self.mixture is not None else self.everything[0].version

    @property
    def streams(self) -> Streams:
        """What the round's update draws from, by the names in its plan."""
        return demos(*self.training, shares=self.mixture.weights if self.mixture is not None else None)

    @property
    def num_episodes(self) -> int:
        """Number of episodes to train on."""
        return sum(part.num_episodes for part in distinct(self.training))

    def datasets(self) -> list[DatasetInfo]:
        """Return the training parts as the tracker shows them."""
        return [_dataset(part) for part in self.training]


class RunData(Protocol):
    """Where the episodes of a run come from."""

    @property
    def spec(self) -> StoreSpec:
        """Their spaces."""

    def gather(self, todo: Round, policy: PolicyRef) -> Gathered:
        """Collect what the round wants, unless the journal says that it is there, and return what there is."""

    def release(self) -> None:
        """Let the versions go that the run has kept from being dropped: it is finished."""

    def close(self) -> None:
        """End what is still running in the background."""


class OwnStore:
    """One store: demonstrations that are in it count, the run collects those that are missing, or takes it as it is.

    Rounds may be collected ahead, in a thread of their own, one after another. Before such a collection begins, the journal
    says what it will be and whose policy plays, so that a resumed run does the same.
    """

    def __init__(
        self, store: Store, collector: Collector | None, rundir: RunDir, config: DataConfig, progress: Progress
    ) -> None:
        self._store, self._collector, self._rundir, self._config, self._progress = store, collector, rundir, config, progress
        self._ahead: dict[int, Future[CollectReport]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="distil-ahead")
        for line in self._lines():
            with suppress(InputError):  # dropped before runs pinned what they need: reading it will say so
                self._pin(line["snapshot"])

    @property
    def spec(self) -> StoreSpec:
        """The store's spaces."""
        return self._store.spec

    def gather(self, todo: Round, policy: PolicyRef) -> Gathered:
        """Collect with the actor that the plan names, then start to collect ahead.

        Args:
            todo: the round.
            policy: the one that the round before ended with.
        """
        self._continue()
        collected, metrics = self._collected(todo, policy)
        for number, plan in enumerate(todo.ahead, todo.index + 1):
            if self._rundir.find("planned", number) is None and self._rundir.find("collected", number) is None:
                self._rundir.append("planned", round=number, plan=to_json(plan), policy_round=todo.index - 1)
                self._start(number, plan, policy, todo.index)
        metrics = {**metrics, "collect/ahead": float(len(self._ahead))} if self._ahead else metrics
        everything = select(self._store, collected)
        training: tuple[Snapshot, ...] = ()
        if todo.update is not None:
            recent = select(self._store, collected, todo.update.streams[DEMOS].num_rounds)
            training = (self._chosen(todo, collected, recent),)
        return Gathered(
            everything=(everything,),
            training=training,
            metrics=metrics,
            spent=spent([everything], collected),
            ahead=len(self._ahead),
            num_queries=asked(everything, collected),
        )

    def release(self) -> None:
        """Let the versions go that the run has pinned."""
        self._store.unpin(_name(self._rundir))

    def close(self) -> None:
        """End what is being collected ahead; its complete episodes are kept."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._collector is not None and any(not future.done() for future in self._ahead.values()):
            self._collector.stop()
        self._thread.shutdown(wait=True)

    def _collected(self, todo: Round, policy: PolicyRef) -> tuple[Sequence[Collected], Metrics]:
        """Return what the run has so far, this round's included; in the last round, what was collected ahead too."""
        metrics: Metrics = {}
        if todo.collect is None:
            for number in sorted(self._ahead):
                self._note(number, self._rundir_plan(number), self._ahead.pop(number).result())
        lines = [line for line in self._lines() if todo.collect is None or line["round"] <= todo.index]
        if todo.collect is not None and (not lines or lines[-1]["round"] != todo.index):
            uids: Sequence[str] = ()
            if todo.index in self._ahead:
                plan, report = self._rundir_plan(todo.index), self._ahead.pop(todo.index).result()
            else:
                uids, plan = self._missing(todo.collect)
                report = self._collect(plan, policy, self._data(plan, lines))
            self._note(todo.index, plan, report, uids)
            lines = [line for line in self._lines() if line["round"] <= todo.index]
        if todo.collect is not None:
            metrics = lines[-1]["metrics"]
        elif not lines:
            self._append(as_it_is(self._store, self._config, todo.index), {})
            lines = self._lines()
        return _parse(lines), metrics

    def _chosen(self, todo: Round, collected: Sequence[Collected], data: Snapshot) -> Snapshot:
        """Return what `data.select` takes of the run's episodes; the first time, say so if that isn't all."""
        taken = collected[0].stream is None and bool(collected[0].uids)  # by `as_it_is`, which has used all of `data.select`
        chosen = (self._config.select.filters if taken else self._config.select).resolve(data)
        if todo.index == 0 and chosen.num_episodes < data.num_episodes:
            words = (
                f"data.select ({self._config.select.describe()}) takes {chosen.num_episodes} of {data.num_episodes} episodes"
            )
            say(self._progress, words)
        return chosen

    def _missing(self, plan: CollectPlan) -> tuple[Sequence[str], CollectPlan]:
        """Return the stored demonstrations that count for a plan of demonstrations, and what is left of the plan."""
        if plan.agent != "expert":
            return (), plan
        known = self._rundir.find("given", plan.round)
        if known is None:
            uids, _ = missing(self._store, plan, self._config.select)
            self._rundir.append("given", round=plan.round, uids=list(uids))
        else:
            uids = known["uids"]
        return uids, _rest(plan, len(uids))

    def _lines(self) -> list[dict[str, Any]]:
        return self._rundir.journal("collected")

    def _note(self, number: int, plan: CollectPlan, report: CollectReport, uids: Sequence[str] = ()) -> None:
        new = Collected(
            round=number,
            snapshot=report.snapshot,
            stream=report.stream,
            num_episodes=plan.num_episodes,
            gated=plan.gate is not None,
            uids=tuple(uids),
        )
        self._append(new, dict(report.metrics))

    def _append(self, new: Collected, metrics: Metrics) -> None:
        self._pin(new.snapshot)
        self._rundir.append("collected", **asdict(new), metrics=metrics)

    def _pin(self, version: int) -> None:
        _pin(self._store, version, self._rundir, self._progress)

    def _continue(self) -> None:
        """After a kill: start again what was being collected ahead."""
        for line in self._rundir.journal("planned"):
            number = line["round"]
            if number not in self._ahead and self._rundir.find("collected", number) is None:
                policy = load_policy_ref(self._rundir.policy_after(line["policy_round"]))
                self._start(number, from_json(line["plan"]), policy, line["policy_round"] + 1)

    def _start(self, number: int, plan: CollectPlan, policy: PolicyRef, newest: int) -> None:
        """Collect a round ahead; its gate sees the data up to round `newest`."""
        data = self._data(plan, [line for line in self._lines() if line["round"] <= newest])
        self._ahead[number] = self._thread.submit(self._collect, plan, policy, data)

    def _collect(self, plan: CollectPlan, policy: PolicyRef, data: Snapshot | None) -> CollectReport:
        assert self._collector is not None  # who plans to collect has an environment
        return self._collector.collect(plan, policy, data)

    def _rundir_plan(self, number: int) -> CollectPlan:
        line = self._rundir.find("planned", number)
        assert line is not None
        return from_json(line["plan"])

    def _data(self, plan: CollectPlan, lines: Sequence[dict[str, Any]]) -> Snapshot | None:
        return select(self._store, _parse(lines)) if plan.gate is not None and lines else None


def _parse(lines: Sequence[dict[str, Any]]) -> list[Collected]:
    known = [{name: line[name] for name in Collected.__dataclass_fields__ if name in line} for line in lines]
    return [Collected(**{**line, "uids": tuple(line.get("uids", ()))}) for line in known]


def as_it_is(store: Store, config: DataConfig, round_index: int = 0) -> Collected:
    """Return what a run has that collects no demonstrations: all episodes of its store, or as many as it wants.

    Raises:
        InputError: the store has fewer demonstrations than the run wants.
    """
    snapshot, num = store.snapshot(), config.episodes
    if num is None:
        return Collected(round=round_index, snapshot=snapshot.version)
    uids = config.select.resolve(demonstrations(snapshot)).episodes.uid[:num].tolist()
    if len(uids) < num:
        taken = "" if config.select.is_everything else f" that data.select takes ({config.select.describe()})"
        raise InputError(
            f"{store.path}: data.episodes={num}, but the store has {len(uids)} demonstrations{taken}: set "
            f"data.episodes={len(uids) or 'null'}, or expert.kind to collect the rest"
        )
    return Collected(round=round_index, snapshot=snapshot.version, uids=tuple(uids))


def missing(store: Store, plan: CollectPlan, selection: SelectionConfig) -> tuple[Sequence[str], CollectPlan]:
    """Return the uids of the stored demonstrations that count for a plan of demonstrations, and what is left to collect.

    Episodes of the plan's own stream are left to the collector, which knows them; those that a run with another seed, noise or
    expert has collected don't count, so that each has demonstrations of its own.
    """
    uids = given_demonstrations(store.snapshot(), selection, plan.num_episodes)
    return uids, _rest(plan, len(uids))


def _rest(plan: CollectPlan, num_given: int) -> CollectPlan:
    rest = plan.num_episodes - num_given
    return replace(plan, num_episodes=rest if plan.max_new is None else min(rest, plan.max_new), max_new=None)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several stores, or parts of them, as they were when the run began. Nothing is collected."""

    mixture: MixtureConfig  # pinned
    parts: tuple[Snapshot, ...]
    rundir: RunDir

    @property
    def spec(self) -> StoreSpec:
        """The parts' spaces."""
        return self.parts[0].spec

    def gather(self, todo: Round, policy: PolicyRef) -> Gathered:
        """Return the parts."""
        assert todo.collect is None
        return Gathered(everything=self.parts, training=self.parts, mixture=self.mixture, spent=spent(self.parts))

    def release(self) -> None:
        """Let the versions go that the run has pinned."""
        for path in {part.path for part in self.parts}:
            Store.open(path).unpin(_name(self.rundir))

    def close(self) -> None:
        """Do nothing."""


def open_data(config: RunConfig, rundir: RunDir, session: Session) -> RunData:
    """Return the data of the run in `rundir`; the versions of a mixture are those of the run's start.

    Raises:
        InputError: a store is missing, or of other spaces than the environment; or an expert's file isn't the one of the start.
    """
    wanted = config.data.mixture
    if wanted is None:
        store = session.store(config)
        collector = session.collector(config, store) if config.env is not None else None
        _pin_content(rundir, session)
        return OwnStore(store, collector, rundir, config.data, session.progress)
    known = rundir.find("pinned", 0)
    mixture = wanted.pin(known["versions"] if known else None)
    parts = session.mixture(mixture)
    _pin_content(rundir, session)
    for part in parts:
        _pin(Store.open(part.path), part.version, rundir, session.progress)
    if known is None:
        rundir.append("pinned", round=0, versions=[part.version for part in mixture.parts])
    return Mixture(mixture=mixture, parts=tuple(parts), rundir=rundir)


def _name(rundir: RunDir) -> str:
    return str(rundir.path.resolve())


def _pin(store: Store, version: int, rundir: RunDir, progress: Progress) -> None:
    """Keep a version from being dropped until the run is finished; a store that may only be read is used without that."""
    try:
        store.pin(version, _name(rundir))
    except RunError as error:
        say(progress, f"{store.path}: version {version} is not protected from `distil store drop` ({error})")


def _pin_content(rundir: RunDir, session: Session) -> None:
    """Compare what the expert and the environment are made of with the journal's; runs of distil 0.1.0 didn't note it."""
    known, now = rundir.find("content", 0), session.content.to_json()
    if known is not None:
        session.require_content(known, str(rundir.path))
    if known is None or any(known[name] != now[name] for name in now):
        rundir.append("content", round=0, **now)


def _dataset(part: Snapshot) -> DatasetInfo:
    facts = {"episodes": part.num_episodes, "transitions": part.num_transitions, "version": part.version}
    return DatasetInfo(name=part.path.name, path=str(part.path.resolve()), digest=part.digest, profile=facts)

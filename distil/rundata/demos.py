"""The demonstrations of a run: in one store, to which its rounds add, or in a mixture of stores that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from distil.errors import InputError
from distil.learners.data import TrainingData
from distil.plans import CollectPlan, CollectReport, Metrics, Round, Spent, StreamPlan
from distil.policies.spec import PolicyRef
from distil.rollouts import Collected, Collector, as_it_is, asked, given_demonstrations, select, spent
from distil.runconfig import DataConfig
from distil.rundata.ahead import Ahead
from distil.rundata.pinning import name_of, parse, pin
from distil.rundir import RunDir
from distil.store import MixtureConfig, SelectionConfig, Snapshot, Store, StoreSpec
from distil.types import Progress, say


class Demos(Protocol):
    """Where the demonstrations of a run come from."""

    @property
    def spec(self) -> StoreSpec:
        """Their spaces."""

    @property
    def version(self) -> int | None:
        """Version of the store that the run uses now; None: it uses several stores, or none yet."""

    @property
    def num_ahead(self) -> int:
        """Number of later rounds whose collection has started."""

    def collect(self, todo: Round, policy: PolicyRef) -> Metrics:
        """Collect the round's episodes, unless the journal has them, then start to collect ahead.

        Args:
            todo: the round.
            policy: the one that the previous round ended with.
        """

    def training(self, plan: StreamPlan, round_index: int) -> TrainingData:
        """Return the pinned episodes that a stream of the update of a round draws from."""

    def spent(self) -> Spent:
        """Return what the episodes that the run has used have cost."""

    def release(self) -> None:
        """Release the versions that the run has pinned: it is finished."""

    def close(self) -> None:
        """Stop what runs in the background."""


class OwnStore:
    """One store. Demonstrations that it has count, and the run collects the rest; without an expert, it is used as it is."""

    def __init__(
        self,
        store: Store,
        collector: Collector | None,
        rundir: RunDir,
        config: DataConfig,
        progress: Progress,
        trust: Sequence[str] = (),
    ) -> None:
        """Continue where the journal says the run is; `trust` names the user's own classes that its policy is made of."""
        self._store, self._collector, self._rundir, self._config, self._progress = store, collector, rundir, config, progress
        self._ahead = Ahead(rundir, self._collect, self._stop, trust)
        for entry in self._collected():
            with suppress(InputError):  # dropped before runs pinned what they need: reading it will say so
                pin(store, entry.snapshot, rundir, progress)

    @property
    def spec(self) -> StoreSpec:
        """The store's spaces."""
        return self._store.spec

    @property
    def version(self) -> int | None:
        """The version with the last round's episodes."""
        return collected[-1].snapshot if (collected := self._collected()) else None

    @property
    def num_ahead(self) -> int:
        """Number of later rounds whose collection has started."""
        return len(self._ahead)

    def collect(self, todo: Round, policy: PolicyRef) -> Metrics:
        """See `Demos.collect`. A round that collects none uses what was collected ahead, or the store as it is."""
        self._ahead.resume()
        metrics: Metrics = {}
        if todo.collect is None:
            for number in self._ahead.rounds:
                self._take(number)
            if todo.update is not None and todo.update.reads("demos") and not self._collected():
                self._note(as_it_is(self._store, self._config.select, self._config.episodes, todo.index), {})
        else:
            if self._rundir.find("collected", todo.index) is None and not self._take(todo.index):
                uids, plan = self._missing(todo.collect)
                self._note_report(plan, self._collect(plan, policy, todo.index), uids)
            line = self._rundir.find("collected", todo.index)
            assert line is not None
            metrics = line["metrics"]
        self._ahead.begin(todo, policy)
        return metrics

    def training(self, plan: StreamPlan, round_index: int) -> TrainingData:
        """Return what `data.select` takes of the run's episodes; in the first round, say so if that isn't all."""
        collected, select_config = self._collected(), self._config.select
        if not collected:
            raise InputError(f"{self._store.path}: round {round_index} trains on demonstrations before any are collected")
        part = chosen(self._store, collected, select_config, plan.num_rounds)
        num = select(self._store, collected, plan.num_rounds).num_episodes if round_index == 0 else part.num_episodes
        if part.num_episodes < num:
            say(self._progress, f"data.select ({select_config.describe()}) takes {part.num_episodes} of {num} episodes")
        return TrainingData(parts=(part,))

    def spent(self) -> Spent:
        """Return what the run's episodes have cost; stored demonstrations have cost others."""
        collected = self._collected()
        if not collected:
            return Spent()
        data = select(self._store, collected)
        return replace(spent([data], collected), expert_queries=asked(data, collected))

    def release(self) -> None:
        """Release the versions that the run has pinned."""
        self._store.unpin(name_of(self._rundir))

    def close(self) -> None:
        """Stop collecting ahead; complete episodes are kept."""
        self._ahead.close()

    def _missing(self, plan: CollectPlan) -> tuple[Sequence[str], CollectPlan]:
        """Return the uids of stored demonstrations that count for a plan, and the plan for the rest."""
        if plan.agent != "expert":
            return (), plan
        known = self._rundir.find("given", plan.round)
        if known is None:
            uids, _ = missing(self._store, plan, self._config.select)
            self._rundir.append("given", round=plan.round, uids=list(uids))
        else:
            uids = known["uids"]
        return uids, _rest(plan, len(uids))

    def _collected(self, newest: int | None = None) -> list[Collected]:
        """Return what the journal says was collected, up to round `newest`."""
        lines = self._rundir.journal("collected")
        return parse([line for line in lines if newest is None or line["round"] <= newest])

    def _collect(self, plan: CollectPlan, policy: PolicyRef, newest: int) -> CollectReport:
        """Carry out a plan; its gate sees the data up to round `newest`."""
        assert self._collector is not None  # rounds that collect need an environment
        collected = self._collected(newest) if plan.gate is not None else []
        return self._collector.collect(plan, policy, select(self._store, collected) if collected else None)

    def _stop(self) -> None:
        assert self._collector is not None
        self._collector.stop()

    def _take(self, number: int) -> bool:
        """Add to the journal what was collected ahead for a round; return whether anything was."""
        found = self._ahead.take(number)
        if found is not None:
            self._note_report(*found)
        return found is not None

    def _note_report(self, plan: CollectPlan, report: CollectReport, uids: Sequence[str] = ()) -> None:
        new = Collected(
            round=plan.round,
            snapshot=report.snapshot,
            stream=report.stream,
            num_episodes=plan.num_episodes,
            gated=plan.gate is not None,
            uids=tuple(uids),
        )
        self._note(new, report.metrics)

    def _note(self, new: Collected, metrics: Metrics) -> None:
        pin(self._store, new.snapshot, self._rundir, self._progress)
        self._rundir.append("collected", **asdict(new), metrics=dict(metrics))


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several stores, or parts of them, as they were when the run began. Nothing is collected."""

    mixture: MixtureConfig  # pinned
    parts: tuple[Snapshot, ...]
    rundir: RunDir
    version: int | None = None
    num_ahead: int = 0

    @property
    def spec(self) -> StoreSpec:
        """The parts' spaces."""
        return self.parts[0].spec

    def collect(self, todo: Round, policy: PolicyRef) -> Metrics:
        """Do nothing; a mixture stays as it is."""
        assert todo.collect is None
        return {}

    def training(self, plan: StreamPlan, round_index: int) -> TrainingData:
        """Return the parts, which are of no round."""
        return TrainingData(parts=self.parts, shares=self.mixture.weights)

    def spent(self) -> Spent:
        """Return what the parts' episodes have cost; an episode of several parts counts once."""
        return spent(self.parts)

    def release(self) -> None:
        """Release the versions that the run has pinned."""
        for path in {part.path for part in self.parts}:
            Store.open(path).unpin(name_of(self.rundir))

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class NoDemos:
    """No demonstrations: the run learns from its own policies' episodes only."""

    spec: StoreSpec
    version: int | None = None
    num_ahead: int = 0

    def collect(self, todo: Round, policy: PolicyRef) -> Metrics:
        """Do nothing."""
        assert todo.collect is None
        return {}

    def training(self, plan: StreamPlan, round_index: int) -> TrainingData:
        """Raise InputError: an algorithm that trains on demonstrations says so in its `needs`."""
        raise InputError(f"round {round_index} trains on demonstrations, and algorithm.needs.demonstrations is False")

    def spent(self) -> Spent:
        """Return nothing."""
        return Spent()

    def release(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def chosen(store: Store, collected: Sequence[Collected], selection: SelectionConfig, num_rounds: int | None = None) -> Snapshot:
    """Return what `data.select` takes of the episodes of the last `num_rounds` rounds (None: of all); see `select`."""
    data = select(store, collected, num_rounds)
    taken = collected[0].stream is None and bool(collected[0].uids)  # by `as_it_is`, which has used all of `data.select`
    return (selection.filters if taken else selection).resolve(data)


def missing(store: Store, plan: CollectPlan, selection: SelectionConfig) -> tuple[Sequence[str], CollectPlan]:
    """Return the uids of stored demonstrations that count for a plan of demonstrations, and the plan for the rest.

    Episodes of the plan's own stream are left to the collector, which knows them; those that a run with another seed, noise or
    expert has collected don't count, so that each has demonstrations of its own.
    """
    uids = given_demonstrations(store.snapshot(), selection, plan.num_episodes)
    return uids, _rest(plan, len(uids))


def _rest(plan: CollectPlan, num_given: int) -> CollectPlan:
    rest = plan.num_episodes - num_given
    return replace(plan, num_episodes=rest if plan.max_new is None else min(rest, plan.max_new), max_new=None)

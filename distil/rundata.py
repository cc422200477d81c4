"""What a run learns from: its own store, which its rounds add to, or a mixture of stores that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from distil.plans import Metrics, Round, UpdatePlan
from distil.rollouts import Collected, Collector, select, spent
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.session import Session
from distil.store import MixtureConfig, SelectionConfig, Snapshot, Store, StoreSpec
from distil.store.mixture import distinct
from distil.tracking import DatasetInfo
from distil.types import PolicyRef


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What a round has to learn from. Versions are pinned: a resumed round reads what it read before."""

    everything: tuple[Snapshot, ...]  # that the run has used so far
    training: tuple[Snapshot, ...]  # what the round's update trains on
    mixture: MixtureConfig | None = None  # that the training parts are of; None: there is one part
    metrics: Metrics = field(default_factory=dict)  # of collecting

    @property
    def version(self) -> int | None:
        """Version of the run's store; None: it has several."""
        return None if self.mixture is not None else self.everything[0].version

    def plan(self, plan: UpdatePlan) -> tuple[UpdatePlan, Snapshot | None]:
        """Return what a learner's update takes."""
        return (plan, self.training[0]) if self.mixture is None else (replace(plan, mixture=self.mixture), None)

    def budget(self) -> dict[str, float]:
        """Return `budget/*`; an episode of several parts counts once."""
        return total([spent(part) for part in distinct(self.everything)])

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


@dataclass(frozen=True, kw_only=True)
class OwnStore:
    """One store: the run collects into it, or takes it as it is."""

    store: Store
    collector: Collector
    rundir: RunDir
    selection: SelectionConfig

    @property
    def spec(self) -> StoreSpec:
        """The store's spaces."""
        return self.store.spec

    def gather(self, todo: Round, policy: PolicyRef) -> Gathered:
        """Collect with the actor that the plan names; `policy` is the learner's newest."""
        collected, metrics = self._collected(todo, policy)
        everything = select(self.store, collected)
        if todo.update is None:
            return Gathered(everything=(everything,), training=(), metrics=metrics)
        chosen = self.selection.resolve(select(self.store, collected, todo.update.num_rounds))
        return Gathered(everything=(everything,), training=(chosen,), metrics=metrics)

    def _collected(self, todo: Round, policy: PolicyRef) -> tuple[Sequence[Collected], Metrics]:
        lines = [entry for entry in self.rundir.journal() if entry["kind"] == "collected" and entry["round"] <= todo.index]
        collected = [Collected(**{name: line[name] for name in Collected.__dataclass_fields__}) for line in lines]
        plan = todo.collect
        if collected and (plan is None or collected[-1].round == todo.index):
            return collected, lines[-1]["metrics"] if plan is not None else {}
        metrics: Metrics = {}
        if plan is not None:
            report = self.collector.collect(plan, policy)
            metrics = report.metrics
            new = Collected(round=todo.index, snapshot=report.snapshot, stream=report.stream, num_episodes=plan.num_episodes)
        else:
            new = Collected(round=todo.index, snapshot=self.store.snapshot().version)
        self.rundir.append("collected", **asdict(new), metrics=dict(metrics))
        return [*collected, new], metrics


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several stores, or parts of them, as they were when the run began. Nothing is collected."""

    mixture: MixtureConfig  # pinned
    parts: tuple[Snapshot, ...]

    @property
    def spec(self) -> StoreSpec:
        """The parts' spaces."""
        return self.parts[0].spec

    def gather(self, todo: Round, policy: PolicyRef) -> Gathered:
        """Return the parts."""
        assert todo.collect is None
        return Gathered(everything=self.parts, training=self.parts, mixture=self.mixture)


def open_data(config: RunConfig, rundir: RunDir, session: Session) -> RunData:
    """Return the data of the run in `rundir`; the versions of a mixture are those of the run's start.

    Raises:
        InputError: a store is missing, or of other spaces than the environment.
    """
    wanted = config.data.mixture
    if wanted is None:
        store = session.store(config)
        collector = session.collector(config, store)
        return OwnStore(store=store, collector=collector, rundir=rundir, selection=config.data.select)
    known = rundir.find("pinned", 0)
    mixture = wanted.pin(known["versions"] if known else None)
    parts = session.mixture(mixture)
    if known is None:
        rundir.append("pinned", round=0, versions=[part.version for part in mixture.parts])
    return Mixture(mixture=mixture, parts=tuple(parts))


def total(figures: Sequence[Metrics]) -> dict[str, float]:
    """Return the sums by name."""
    return {name: sum(part[name] for part in figures) for name in figures[0]}


def _dataset(part: Snapshot) -> DatasetInfo:
    facts = {"episodes": part.num_episodes, "transitions": part.num_transitions, "version": part.version}
    return DatasetInfo(name=part.path.name, path=str(part.path.resolve()), digest=part.digest, profile=facts)

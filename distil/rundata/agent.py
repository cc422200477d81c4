"""The episodes of a run's own policies: in a store of their own in the run's folder, the newest rounds only.

    RUN/agent/   a store like any other. A round that collects `into="agent"` first removes the rounds that its plan doesn't
                 keep, then adds its own episodes

What a round removes was last read by an update whose report is durable, so a resumed run never misses it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from distil.errors import InputError, RunError
from distil.learners.data import TrainingData
from distil.plans import CollectPlan, Metrics, Spent, StreamPlan
from distil.policies.spec import PolicyRef
from distil.rollouts import Collected, Collector, asked, select, uids_of
from distil.rundata.pinning import name_of, parse, pin
from distil.rundir import RunDir
from distil.store import Store, StoreSpec
from distil.store.forget import forget_episodes
from distil.types import Progress


class AgentEpisodes:
    """The episodes of a run's own policies.

    Args:
        rundir: of the run; the first round that collects creates the store `agent` in it.
        spec: of the store.
        collector: returns what collects into a store.
        progress: shows messages.
    """

    def __init__(self, rundir: RunDir, spec: StoreSpec, collector: Callable[[Store], Collector], progress: Progress) -> None:
        self._rundir, self._spec, self._collector, self._progress = rundir, spec, collector, progress

    def collect(self, plan: CollectPlan, policy: PolicyRef) -> Metrics:
        """Collect the episodes of a round, unless the journal has them.

        Raises:
            InputError, RunError: see `Collector.collect`.
        """
        known = self._rundir.find("agent", plan.round)
        if known is None:
            self._rundir.check()
            store = Store.open_or_create(self._rundir.agent, self._spec)
            oldest = self._make_room(store, plan)
            report = self._collector(store).collect(plan, policy)
            new = Collected(round=plan.round, snapshot=report.snapshot, stream=report.stream, num_episodes=report.num_planned)
            pin(store, new.snapshot, self._rundir, self._progress)
            self._rundir.append("agent", **asdict(new), oldest=oldest, **_costs(store, new, plan), metrics=dict(report.metrics))
            known = self._rundir.find("agent", plan.round)
            assert known is not None
        metrics: Metrics = known["metrics"]
        return metrics

    def training(self, plan: StreamPlan, round_index: int) -> TrainingData:
        """Return the pinned episodes that a stream of the update of a round draws from: of all kept rounds, or the last ones.

        Raises:
            InputError: nothing is collected yet.
            RunError: the stream reads rounds that are not kept.
        """
        lines = self._rundir.journal("agent")
        if not lines:
            raise InputError(
                f"round {round_index} trains on the agent's episodes before any are collected: "
                'give it, or an earlier round, CollectPlan(into="agent")'
            )
        oldest = lines[-1]["oldest"]
        kept = [line for line in lines if line["round"] >= oldest]
        wanted = kept if plan.num_rounds is None else lines[-plan.num_rounds :]
        if len(wanted) > len(kept):
            raise RunError(
                f"round {round_index} trains on the agent's episodes of the last {plan.num_rounds} rounds, and those before "
                f"round {oldest} are removed: raise CollectPlan.keep_rounds"
            )
        return TrainingData(parts=(select(Store.open(self._rundir.agent), parse(wanted)),))

    def spent(self) -> Spent:
        """Return what the episodes of all rounds have cost, removed ones included."""
        lines = self._rundir.journal("agent")
        steps, labels, queries = (sum(line[name] for line in lines) for name in ("env_steps", "expert_labels", "num_queries"))
        return Spent(
            env_steps=steps,
            agent_episodes=sum(line["num_episodes"] for line in lines),
            agent_steps=steps,
            expert_labels=labels,
            expert_queries=queries,
        )

    def mean_length(self, round_index: int) -> float | None:
        """Return the mean number of steps of the episodes of a round; None: it collected none."""
        line = self._rundir.find("agent", round_index)
        return line["env_steps"] / line["num_episodes"] if line is not None else None

    @contextmanager
    def looking(self) -> Iterator[Store]:
        """A store for the episodes of one evaluation, which is removed afterwards; so is one that a killed process left."""
        path = self._rundir.look
        self._rundir.check()
        for left in path.parent.glob("look*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield Store.create(path, replace(self._spec, infos=()))
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def release(self) -> None:
        """Release the versions that the run has pinned."""
        if Store.exists(self._rundir.agent):
            Store.open(self._rundir.agent).unpin(name_of(self._rundir))

    def _make_room(self, store: Store, plan: CollectPlan) -> int:
        """Remove the episodes of rounds that the plan does not keep; return the oldest round that is kept."""
        lines = self._rundir.journal("agent")
        first = lines[-1]["oldest"] if lines else plan.round
        steps = {line["round"]: line["env_steps"] for line in lines if line["round"] >= first}
        kept = list(steps)
        if plan.keep_rounds is not None:
            kept = kept[len(kept) - min(len(kept), plan.keep_rounds - 1) :]
        if plan.keep_steps is not None:
            total, left = sum(steps[round_index] for round_index in kept) + (plan.min_steps or 0), plan.keep_steps
            while kept and total - steps[kept[0]] >= left:
                total -= steps[kept.pop(0)]
        oldest: int = kept[0] if kept else plan.round
        gone = [uid for entry in parse([line for line in lines if line["round"] < oldest]) for uid in uids_of(entry)]
        if gone:
            store.unpin(name_of(self._rundir))
            forget_episodes(store, set(gone))
        return oldest


def _costs(store: Store, new: Collected, plan: CollectPlan) -> dict[str, int]:
    data = select(store, [new])
    queries = asked(data, [new]) if plan.label or plan.agent == "expert" else 0
    return {
        "env_steps": data.num_transitions,
        "expert_labels": int(data.episodes.num_labelled.sum()),
        "num_queries": queries,
    }

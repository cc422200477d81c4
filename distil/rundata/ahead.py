"""Rounds that are collected ahead, in a thread of their own, while the learner is busy with earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from distil.plans import CollectPlan, CollectReport, Round
from distil.policies.checkpoint import load_policy_ref
from distil.policies.spec import PolicyRef
from distil.rollouts import from_json, to_json
from distil.rundir import RunDir

Collect = Callable[[CollectPlan, PolicyRef, int], CollectReport]


class Ahead:
    """Collections that have started and whose results are not used yet. They run one after another.

    Before one starts, the journal gets its plan and the round whose policy acts, so that a resumed run repeats it exactly.
    """

    def __init__(self, rundir: RunDir, collect: Collect, stop: Callable[[], None], trust: Sequence[str] = ()) -> None:
        """Nothing is running yet.

        Args:
            rundir: whose journal has the plans.
            collect: carries out a plan with a policy; a gate is fitted to the data up to the round that is its last argument.
            stop: ends a `collect` in another thread.
            trust: the user's own classes that the run's policy is made of.
        """
        self._rundir, self._collect, self._stop, self._trust = rundir, collect, stop, trust
        self._running: dict[int, Future[CollectReport]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="distil-ahead")

    def __len__(self) -> int:
        return len(self._running)

    @property
    def rounds(self) -> Iterable[int]:
        """The rounds, in order."""
        return sorted(self._running)

    def resume(self) -> None:
        """After a kill: start again the collections that the journal plans and that did not end."""
        for line in self._rundir.journal("planned"):
            number, played = line["round"], line["policy_round"]
            if number not in self._running and self._rundir.find("collected", number) is None:
                policy = load_policy_ref(self._rundir.policy_after(played), trust=self._trust)
                self._begin(number, from_json(line["plan"]), policy, played + 1)

    def begin(self, todo: Round, policy: PolicyRef) -> None:
        """Start the plans `todo.ahead`, unless the journal has them already; `policy` is the previous round's."""
        for number, plan in enumerate(todo.ahead, todo.index + 1):
            if self._rundir.find("planned", number) is None and self._rundir.find("collected", number) is None:
                self._rundir.append("planned", round=number, plan=to_json(plan), policy_round=todo.index - 1)
                self._begin(number, plan, policy, todo.index)

    def take(self, number: int) -> tuple[CollectPlan, CollectReport] | None:
        """Wait for the collection of a round, and return its plan and report; None if it was not started."""
        if number not in self._running:
            return None
        line = self._rundir.find("planned", number)
        assert line is not None
        return from_json(line["plan"]), self._running.pop(number).result()

    def close(self) -> None:
        """Stop the running collection; its complete episodes are kept."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if any(not future.done() for future in self._running.values()):
            self._stop()
        self._thread.shutdown(wait=True)

    def _begin(self, number: int, plan: CollectPlan, policy: PolicyRef, newest: int) -> None:
        self._running[number] = self._thread.submit(self._collect, plan, policy, newest)

"""Workers as Ray actors: episodes that a dead worker had not sealed are run again, from the same seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from distil.cluster import Request
from distil.policies.spec import PolicyRef
from distil.rollouts.config import RolloutConfig
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.pool import ActorPool, Member, Work
from distil.rollouts.work import Assignment, Outcome, Setup, StoppedError, Tell, WorkReport
from distil.rollouts.worker import Worker

_ROOM = Request(what="rollout workers", num=1, each={"CPU": 1}, fix="set rollouts.num_workers=0")  # one is enough to start
_ADVICE = "if memory is short, lower rollouts.num_envs or rollouts.shard_bytes"
Group = Sequence[EpisodeItem]


class RemoteWorker:
    """The actor class: a Worker that stops when its call is cancelled."""

    def __init__(self, setup: Setup) -> None:
        self._worker = Worker(setup)

    def ready(self) -> None:
        """Return once the actor has started."""

    def run(self, assignment: Assignment, items: Group, policy: PolicyRef | None, known: int) -> WorkReport:
        """See `Worker.run`."""
        import ray

        return self._worker.run(assignment, items, policy, known=known, stop=ray.get_runtime_context().is_canceled)

    def seal(self, known: int) -> WorkReport:
        """See `Worker.seal`."""
        return self._worker.seal(known)


class RayPool:
    """A fixed number of workers as Ray actors, one core each.

    Args:
        setup: what each worker needs.
        config: how many, and where.
    """

    def __init__(self, setup: Setup, config: RolloutConfig) -> None:
        self._actors: ActorPool[Group] = ActorPool(
            RemoteWorker,
            setup,
            num=config.num_workers,
            room=_ROOM,
            what="the expert",
            advice=_ADVICE,
            start_timeout_s=config.start_timeout_s,
            address=config.address,
            num_cpus=config.num_cpus,
        )
        self._policy: tuple[PolicyRef, Any] | None = None  # the last one sent, and its reference

    def run(
        self,
        assignment: Assignment,
        groups: Sequence[Group],
        policy: PolicyRef | None,
        outcome: Outcome,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> None:
        """See `Workers.run`."""

        def check() -> None:
            if stopped():
                raise StoppedError

        self._actors.run(_Episodes(assignment, self._send(policy), outcome, tell), groups, check)

    def close(self) -> None:
        """Kill the actors. The Ray session stays for others."""
        self._actors.close()

    def _send(self, policy: PolicyRef | None) -> Any:
        if policy is None:
            return None
        if self._policy is None or self._policy[0] is not policy:
            self._policy = (policy, self._actors.ray.put(policy))
        return self._policy[1]


class _Episodes(Work[Group]):
    """One assignment: a task is a group of items; its results are saved once they are in a sealed shard."""

    def __init__(self, assignment: Assignment, policy: Any, outcome: Outcome, tell: Tell) -> None:
        self._assignment, self._policy, self._outcome, self._tell = assignment, policy, outcome, tell
        self._recorded = assignment.target is not None
        self._num_known: dict[Member[Group], int] = defaultdict(int)  # shards that a member has reported

    def submit(self, member: Member[Group], task: Group) -> Any:
        return member.actor.run.remote(self._assignment, task, self._policy, self._num_known[member])

    def take(self, member: Member[Group], task: Group, report: WorkReport) -> bool:
        self._add(member, report)
        return bool(report.sealed) or not self._recorded  # a shard holds everything that the worker had

    def save(self, member: Member[Group]) -> Any:
        return member.actor.seal.remote(self._num_known[member]) if self._recorded else None

    def take_saved(self, member: Member[Group], answer: WorkReport) -> None:
        self._add(member, answer)
        answer.raise_error()

    def lost(self, task: Group) -> str:
        return f"before the episodes of seeds {', '.join(str(item.seed) for item in task)} were complete"

    def _add(self, member: Member[Group], report: WorkReport) -> None:
        self._outcome.take(report, recorded=self._recorded)
        self._num_known[member] += len(report.sealed)
        self._tell(report.stats)

"""Workers as Ray actors: episodes that a dead worker had not sealed are run again, from the same seeds."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from distil.cluster import Request, cluster_cores, grows
from distil.policies.spec import PolicyRef
from distil.rollouts.config import RolloutConfig
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.pool import ActorPool, Member, Work
from distil.rollouts.transport import RayTransport
from distil.rollouts.work import MAX_WAVES, Assignment, Job, Setup, StoppedError, WorkReport
from distil.rollouts.worker import Worker

_GROUPS_PER_WORKER = 4  # enough to balance a slow worker
_ADVICE = "if memory is short, lower rollouts.num_envs or rollouts.shard_bytes"
Group = Sequence[EpisodeItem]


class RemoteWorker:
    """The actor class: a Worker that stops when its call is cancelled."""

    def __init__(self, setup: Setup) -> None:
        self._worker = Worker(setup)

    def ready(self) -> None:
        """Return once the actor has started."""

    def run(self, assignment: Assignment, items: Sequence[tuple[Any, ...]], policy: PolicyRef | None, known: int) -> WorkReport:
        """See `Worker.run`; an item comes as `packed` makes it."""
        import ray

        stop = ray.get_runtime_context().is_canceled
        return self._worker.run(assignment, unpacked(items), policy, known=known, stop=stop)

    def seal(self, known: int) -> WorkReport:
        """See `Worker.seal`."""
        return self._worker.seal(known)


class RayPool:
    """Workers as Ray actors, one core each. A call starts as many as it has work for, up to a limit.

    Args:
        setup: what each worker needs.
        config: where they run.
        limit: how many at most; None: as many as there is room for.
        reserved: cores that learners need. These and the experts' own stay free: a worker on them would wait for ever for its
            labels, or the learners for their turn.

    Raises:
        InputError: the session can never hold a worker, or the expert cannot be sent to one.
        RunError: there is no Ray session, and none can be started.
    """

    def __init__(self, setup: Setup, config: RolloutConfig, *, limit: int | None, reserved: int = 0) -> None:
        self.limit, self._labels = limit, config.labels
        self._num_envs = setup.num_envs
        self._reserved = reserved + (config.service.num_cpus_wanted if config.service is not None else 0)
        transport = RayTransport(
            RemoteWorker, setup, room=room(config), what="the expert", address=config.address, num_cpus=config.num_cpus
        )
        self._ray = transport.ray
        self._actors: ActorPool[Group] = ActorPool(
            transport, num=0, advice=_ADVICE, start_timeout_s=config.start_timeout_s, room=self._room
        )
        self._policy: tuple[PolicyRef, Any] | None = None  # the last one sent, and its reference

    def run(self, job: Job) -> None:
        """See `Workers.run`."""

        def check() -> None:
            if job.stopped():
                raise StoppedError

        limit = self._room()
        parts = groups(job.items, limit, self._num_envs)
        self._actors.num = max(self._actors.num, min(limit, len(parts)))
        self._actors.run(_Episodes(job, self._ray.put(job.assignment), self._send(job.policy)), parts, check)

    def _room(self) -> int:
        """Return how many workers there is room for, up to the limit, beside experts and learners.

        What an autoscaler adds has room, too; and with labels, experts and learners are on other nodes.
        """
        if self.limit is not None and (self._labels or grows(self._ray)):
            return self.limit
        room = max(1, cluster_cores(self._ray, self._labels) - self._reserved)
        return room if self.limit is None else min(self.limit, room)

    def close(self) -> None:
        """Kill the actors. The Ray session stays for others."""
        self._actors.close()

    def _send(self, policy: PolicyRef | None) -> Any:
        if policy is None:
            return None
        if self._policy is None or self._policy[0] is not policy:
            self._policy = (policy, self._ray.put(policy))
        return self._policy[1]


class _Episodes(Work[Group]):
    """One assignment: a task is a group of items; its results are saved once they are in a sealed shard.

    Assignment and policy, which may hold networks, are references: Ray sends them to a node once, however many calls it gets.
    """

    def __init__(self, job: Job, assignment: Any, policy: Any) -> None:
        self._job, self._assignment, self._policy = job, assignment, policy
        self._recorded = job.assignment.target is not None
        self._num_known: dict[Member[Group], int] = defaultdict(int)  # shards that a member has reported

    def submit(self, member: Member[Group], task: Group) -> Any:
        return member.actor.run.remote(self._assignment, packed(task), self._policy, self._num_known[member])

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
        self._job.outcome.take(report, recorded=self._recorded)
        self._num_known[member] += len(report.sealed)
        self._job.tell(report.stats)


def packed(items: Group) -> list[tuple[Any, ...]]:
    """Return the items as plain tuples, which Ray pickles in an eighth of the time."""
    return [(item.index, item.uid, item.seed) for item in items]


def unpacked(items: Sequence[tuple[Any, ...]]) -> Group:
    """Return the items that `packed` packed."""
    return [EpisodeItem(index=index, uid=uid, seed=seed) for index, uid, seed in items]


def room(config: RolloutConfig) -> Request:
    """Return what the workers need from the cluster; one of them is enough to start."""
    each, fix = {"CPU": 1.0, **config.resources}, "set rollouts.num_workers=0"
    if config.labels or config.resources:
        fix = f"change rollouts.{'labels' if config.labels else 'resources'}, or {fix}"
    return Request(what="rollout workers", num=1, each=each, fix=fix, labels=config.labels)


def groups(items: Group, num_workers: int, num_envs: int) -> list[Group]:
    """Return the items in equal groups: small enough to balance the workers, large enough to fill their slots."""
    per_worker = math.ceil(len(items) / num_workers)
    size = min(max(min(num_envs, per_worker), math.ceil(per_worker / _GROUPS_PER_WORKER)), MAX_WAVES * num_envs)
    num = num_workers * math.ceil(len(items) / (num_workers * size))
    bounds = [round(i * len(items) / num) for i in range(num + 1)]
    return [items[a:b] for a, b in itertools.pairwise(bounds) if a < b]

"""Who labels the shards: this process, or Ray actors that may die. Another actor then labels its shard again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distil.cluster import START_TIMEOUT_S, Request, ensure_ray, why_died
from distil.errors import InputError, RunError
from distil.rollouts.relabel_worker import LabelSetup, ShardReport, ShardTask, Tell, label_shard

MAX_RETRIES = 3  # of a shard whose actor died
_STOP_S = 3.0  # for actors to write what is answered, after an error or interrupt
_POLL_S = 1.0
_ROOM = Request(what="labelling workers", num=1, each={"CPU": 1}, fix="label with 0 workers")
Take = Callable[[ShardTask, ShardReport], None]  # raises to end the work


def label_here(setup: LabelSetup, tasks: Sequence[ShardTask], take: Take, tell: Tell) -> None:
    """Label the shards in this process, one after another.

    Args:
        setup: the store and the expert.
        tasks: the shards.
        take: told of each shard.
        tell: told of each episode, with the number of labels that it got.
    """
    for task in tasks:
        take(task, label_shard(setup, task, tell=tell))


class RemoteLabeller:
    """The actor class: one shard at a time, given up when the call is cancelled."""

    def __init__(self, setup: LabelSetup) -> None:
        self._setup = setup
        self._last: tuple[ShardTask, ShardReport] | None = None

    def ready(self) -> None:
        """Return once the actor has started."""

    def label(self, task: ShardTask) -> ShardReport:
        """See `label_shard`."""
        import ray

        report = label_shard(self._setup, task, stop=ray.get_runtime_context().is_canceled)
        self._last = task, report
        return report

    def last(self) -> tuple[ShardTask, ShardReport] | None:
        """Return the last task with its report: what a cancelled call returns is lost."""
        return self._last


@dataclass(eq=False)
class _Member:
    actor: Any
    is_ready: bool = False
    task: ShardTask | None = None  # that it works on


class LabelPool:
    """A fixed number of Ray actors, one core each; close it after use.

    Args:
        setup: the store and the expert.
        num_workers: how many actors.
        address: of a running Ray cluster; None: see `ensure_ray`.
    """

    def __init__(self, setup: LabelSetup, num_workers: int, address: str | None = None) -> None:
        self._ray = ensure_ray(address, num_workers)
        _ROOM.require_possible(self._ray)
        try:
            self._ray.cloudpickle.dumps(setup.expert)
        except Exception as error:  # whatever pickling the user's expert raises
            raise InputError(f"expert {setup.expert.name} can't be sent to workers: {error}; label with 0 workers") from error
        self._setup = self._ray.put(setup)
        self._class = self._ray.remote(num_cpus=1, max_restarts=0)(RemoteLabeller)
        self._waiting: dict[Any, _Member] = {}  # reference of the call under way -> member
        self.members: list[_Member] = []
        self._failures: dict[ShardTask, int] = {}
        self._failed_starts = 0
        for _ in range(num_workers):
            self._start()

    def run(self, tasks: Sequence[ShardTask], take: Take) -> None:
        """Label the shards. After an error or interrupt, what was answered is written and taken where that takes no time.

        Args:
            tasks: the shards.
            take: told of each shard.

        Raises:
            RunError: actors kept dying on the same shard, or none could start; and whatever `take` raises.
        """
        queue = deque(tasks)
        try:
            idle_since = time.monotonic()
            while queue or any(member.task for member in self.members):
                self._hand_out(queue)
                done, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=_POLL_S)
                if done or any(member.is_ready for member in self.members):
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > START_TIMEOUT_S:
                    raise _ROOM.not_placed(self._ray, START_TIMEOUT_S)
                for ref in done:
                    self._receive(ref, queue, take)
        except BaseException:
            self._stop(take)
            raise

    def close(self) -> None:
        """Kill the actors. The Ray session stays for others."""
        for member in self.members:
            self._ray.kill(member.actor)
        self.members, self._waiting = [], {}

    def _start(self) -> None:
        member = _Member(self._class.remote(self._setup))
        self.members.append(member)
        self._waiting[member.actor.ready.remote()] = member

    def _hand_out(self, queue: deque[ShardTask]) -> None:
        for member in self.members:
            if queue and member.is_ready and member.task is None:
                member.task = queue.popleft()
                self._waiting[member.actor.label.remote(member.task)] = member

    def _receive(self, ref: Any, queue: deque[ShardTask], take: Take) -> None:
        member = self._waiting.pop(ref)
        try:
            report = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except self._ray.exceptions.RayError as error:
            self._lost(member, queue, error)
            return
        if member.task is None:  # of `ready`
            member.is_ready, self._failed_starts = True, 0
            return
        task, member.task = member.task, None
        take(task, report)

    def _lost(self, member: _Member, queue: deque[ShardTask], error: Exception) -> None:
        """Replace a dead actor, and queue its shard again."""
        self.members.remove(member)
        self._ray.kill(member.actor)  # it may only be out of reach
        if member.task is not None:
            count = self._failures[member.task] = self._failures.get(member.task, 0) + 1
            if count > MAX_RETRIES:
                raise RunError(
                    f"workers died {count} times while labelling {member.task.entry.path}; the last: {why_died(error)}"
                )
            queue.append(member.task)
        elif not member.is_ready:
            self._failed_starts += 1
            if self._failed_starts > MAX_RETRIES * (1 + len(self.members)):
                raise RunError(f"labelling workers can't start: {why_died(error)}")
        self._start()

    def _stop(self, take: Take) -> None:
        """Have the actors write what has been answered; those that don't in time lose it."""
        busy = {ref: member for ref, member in self._waiting.items() if member.task is not None}
        for ref in busy:
            self._ray.cancel(ref)
        refs = {member.actor.last.remote(): member for member in busy.values()}
        done, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=_STOP_S) if refs else ([], [])
        for ref in done:
            try:
                last = self._ray.get(ref)
                if last is not None and last[0] == refs[ref].task:
                    take(*last)
            except (RunError, KeyboardInterrupt, self._ray.exceptions.RayError):
                continue  # the first error is the one that counts

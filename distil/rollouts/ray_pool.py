"""Ray actors as workers: a small wait loop of our own from references to groups of items.

A worker that dies is replaced, and what it hadn't sealed is run again from the same seeds. An application's error ends the run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from distil.cluster import Request, ensure_ray, why_died
from distil.errors import InputError, RunError
from distil.policies.spec import PolicyRef
from distil.rollouts.config import RolloutConfig
from distil.rollouts.fleet import Outcome, StoppedError, Tell
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.worker import Assignment, Setup, Worker, WorkReport

MAX_RETRIES = 3  # of a group whose worker died
_STOP_S = 3.0  # for workers to seal after an error or interrupt
_POLL_S = 1.0
_ROOM = Request(what="rollout workers", num=1, each={"CPU": 1}, fix="set rollouts.num_workers=0")  # one is enough to start


class RemoteWorker:
    """The actor class: a Worker that can be told to stop by cancelling its call."""

    def __init__(self, setup: Setup) -> None:
        self._worker = Worker(setup)

    def ready(self) -> None:
        """Return once the actor has started."""

    def run(self, assignment: Assignment, items: Sequence[EpisodeItem], policy: PolicyRef | None, known: int) -> WorkReport:
        """See `Worker.run`."""
        import ray

        return self._worker.run(assignment, items, policy, known=known, stop=ray.get_runtime_context().is_canceled)

    def seal(self, known: int) -> WorkReport:
        """See `Worker.seal`."""
        return self._worker.seal(known)


@dataclass(eq=False)
class _Group:
    items: Sequence[EpisodeItem]
    failures: int = 0  # workers that died before it was on disk


@dataclass(eq=False)
class _Member:
    actor: Any
    is_ready: bool = False
    group: _Group | None = None  # that it works on
    unsealed: list[_Group] = field(default_factory=list)  # done, but not yet in a sealed shard
    num_known: int = 0  # shards of the call's assignment that it has reported

    @property
    def held(self) -> list[_Group]:
        """What is lost if it dies."""
        return [*self.unsealed, *([self.group] if self.group else [])]


class RayPool:
    """A fixed number of Ray actors, one core each.

    Args:
        setup: what each worker needs; goes through Ray's object store once.
        config: how many, and where.
    """

    def __init__(self, setup: Setup, config: RolloutConfig) -> None:
        self._ray = ensure_ray(config.address, config.num_cpus)
        self._config = config
        _ROOM.require_possible(self._ray)
        try:
            self._setup = self._ray.put(setup)
        except Exception as error:  # whatever pickling the user's expert raises
            raise InputError(f"the expert can't be sent to workers: {error}; set rollouts.num_workers=0") from error
        self._class = self._ray.remote(num_cpus=1, max_restarts=0)(RemoteWorker)
        self._waiting: dict[Any, _Member] = {}  # reference of the call under way -> member
        self._members: list[_Member] = []
        self._policy: tuple[PolicyRef, Any] | None = None  # the last one sent, and its reference
        for _ in range(config.num_workers):
            self._start()

    def run(
        self,
        assignment: Assignment,
        groups: Sequence[Sequence[EpisodeItem]],
        policy: PolicyRef | None,
        outcome: Outcome,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> None:
        """Run all groups; on an error, interrupt or stop, seal what is complete, put it into `outcome`, and raise."""
        call = _Call(assignment, self._send(policy), deque(_Group(items) for items in groups), outcome, tell, stopped)
        for member in self._members:
            member.unsealed, member.num_known = [], 0
        try:
            while call.queue or any(member.group or member.unsealed for member in self._members):
                self._work(call)
                self._seal(call)
        except BaseException:
            self._stop(call)
            raise

    def close(self) -> None:
        """Kill the actors. The Ray session stays for others."""
        for member in self._members:
            self._ray.kill(member.actor)
        self._members, self._waiting = [], {}

    def _start(self) -> None:
        member = _Member(self._class.remote(self._setup))
        self._members.append(member)
        self._waiting[member.actor.ready.remote()] = member

    def _send(self, policy: PolicyRef | None) -> Any:
        if policy is None:
            return None
        if self._policy is None or self._policy[0] is not policy:
            self._policy = (policy, self._ray.put(policy))
        return self._policy[1]

    def _work(self, call: _Call) -> None:
        """Hand out groups until none is left and none is under way."""
        idle_since = time.monotonic()
        while True:
            if call.stopped():
                raise StoppedError
            self._hand_out(call)
            if not call.queue and not any(member.group for member in self._members):
                return
            done, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=_POLL_S)
            if done or any(member.is_ready for member in self._members):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > self._config.start_timeout_s:
                raise _ROOM.not_placed(self._ray, self._config.start_timeout_s)
            for ref in done:
                self._receive(ref, call)

    def _hand_out(self, call: _Call) -> None:
        for member in self._members:
            if call.queue and member.is_ready and member.group is None:
                member.group = call.queue.popleft()
                self._waiting[member.actor.run.remote(call.assignment, member.group.items, call.policy, member.num_known)] = (
                    member
                )

    def _receive(self, ref: Any, call: _Call) -> None:
        member = self._waiting.pop(ref)
        try:
            report = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except self._ray.exceptions.RayError as error:
            self._lost(member, call, error)
            return
        if report is None:  # of `ready`
            member.is_ready, call.failed_starts = True, 0
            return
        group, member.group = member.group, None
        assert group is not None
        call.take(report, member)
        if report.sealed:
            member.unsealed = []  # a shard holds all that the worker had so far
        elif call.assignment.target is not None:
            member.unsealed.append(group)
        report.raise_error()

    def _seal(self, call: _Call) -> None:
        """Have all workers seal; groups of a worker that dies meanwhile go back to the queue."""
        refs = {member.actor.seal.remote(member.num_known): member for member in self._members if member.unsealed}
        for ref, member in refs.items():
            try:
                report = self._ray.get(ref)
            except self._ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
            except self._ray.exceptions.RayError as error:
                self._lost(member, call, error)
                continue
            call.take(report, member)
            report.raise_error()
            member.unsealed = []

    def _lost(self, member: _Member, call: _Call, error: Exception) -> None:
        """Replace a dead worker, and queue again what it hadn't sealed: each group a limited number of times."""
        self._drop(member)
        for group in member.held:
            group.failures += 1
            if group.failures > MAX_RETRIES:
                seeds = ", ".join(str(item.seed) for item in group.items)
                when = "running" if member.group else "sealing"
                raise RunError(
                    f"workers died {group.failures} times before the episodes of seeds {seeds} were complete; the last while "
                    f"{when}: {why_died(error)}; where memory is short, lower rollouts.num_envs or rollouts.shard_bytes"
                )
        call.queue.extend(member.held)
        if not member.is_ready:
            call.failed_starts += 1
            if call.failed_starts > MAX_RETRIES * self._config.num_workers:
                raise RunError(f"rollout workers can't start: {why_died(error)}")
        self._start()

    def _drop(self, member: _Member) -> None:
        self._members.remove(member)
        self._waiting = {ref: other for ref, other in self._waiting.items() if other is not member}
        self._ray.kill(member.actor)  # it may only be out of reach

    def _stop(self, call: _Call) -> None:
        """Have the workers drop what is under way and seal what is complete; those that don't answer in time are killed."""
        for ref, member in self._waiting.items():
            if member.group is not None:
                self._ray.cancel(ref)
        busy = {member for member in self._members if member.group or member.unsealed}
        refs = {member.actor.seal.remote(member.num_known): member for member in busy if call.assignment.target is not None}
        done, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=_STOP_S) if refs else ([], [])
        for ref in done:
            try:
                call.take(self._ray.get(ref), refs[ref])
            except self._ray.exceptions.RayError:
                continue  # dead: nothing to save, it is replaced below
            self._forget(refs[ref])
            busy.remove(refs[ref])
        for member in busy:
            self._drop(member)
            self._start()

    def _forget(self, member: _Member) -> None:
        member.group, member.unsealed = None, []
        self._waiting = {ref: other for ref, other in self._waiting.items() if other is not member or not other.is_ready}


@dataclass(eq=False)
class _Call:
    """One call of `run`."""

    assignment: Assignment
    policy: Any  # reference
    queue: deque[_Group]
    outcome: Outcome
    tell: Tell
    stopped: Callable[[], bool]
    failed_starts: int = 0  # since a worker last started

    def take(self, report: WorkReport, member: _Member) -> None:
        self.outcome.take(report, recorded=self.assignment.target is not None)
        member.num_known += len(report.sealed)
        self.tell(report.stats)

"""A pool of Ray actors that may die: it hands out tasks, replaces dead actors, and repeats the tasks that were lost with them.

The caller says what a task is and what its report means (`Work`). An error that an actor raises ends the work; the death of an
actor does not, unless the same task loses its actor again and again.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from distil.cluster import Request, ensure_ray, why_died
from distil.errors import InputError, RunError
from distil.interrupts import delayed_interrupts

MAX_RETRIES = 3  # of a task whose actor died, and of starting each actor
_STOP_S = 3.0  # for actors to save their results after an error or interrupt
_POLL_S = 1.0
T = TypeVar("T")


class Report(Protocol):
    """What an actor returns for a task."""

    def raise_error(self) -> None:
        """Raise the error that ended the task, if there is one."""


@dataclass(eq=False)
class Pending(Generic[T]):
    """A task that is not saved yet."""

    task: T
    num_deaths: int = 0  # actors that died with it


@dataclass(eq=False)
class Member(Generic[T]):
    """An actor of the pool."""

    actor: Any
    is_ready: bool = False
    current: Pending[T] | None = None  # the task that it works on
    unsaved: list[Pending[T]] = field(default_factory=list)  # tasks that are done, but whose results only this actor has

    @property
    def held(self) -> list[Pending[T]]:
        """The tasks that are lost if the actor dies."""
        return [*self.unsaved, *([self.current] if self.current else [])]


class Work(ABC, Generic[T]):
    """The work of one call of the pool: how tasks are submitted, and where reports go."""

    @abstractmethod
    def submit(self, member: Member[T], task: T) -> Any:
        """Start the task on the member's actor; return the reference of its report."""

    @abstractmethod
    def take(self, member: Member[T], task: T, report: Any) -> bool:
        """Take a report; return whether everything that the actor has done is saved now."""

    @abstractmethod
    def save(self, member: Member[T]) -> Any:
        """Ask the actor to save its results; return the reference of its answer, None if there is nothing to save."""

    @abstractmethod
    def take_saved(self, member: Member[T], answer: Any) -> None:
        """Take the answer to `save`; InputError or RunError if saving failed."""

    @abstractmethod
    def lost(self, task: T) -> str:
        """Return when actors died with a task, for an error: "workers died 4 times ..."."""


def send(ray: Any, value: object, fault: str, fix: str) -> Any:
    """Put a value into Ray's object store and return its reference; InputError if it can't be pickled."""
    try:
        return ray.put(value)
    except Exception as error:  # whatever pickling the user's expert raises
        reason = " ".join(str(error.__cause__ or error).split())  # Ray's own text has many lines
        raise InputError(f"{fault}: {reason}; {fix}") from error


class ActorPool(Generic[T]):
    """A number of Ray actors, which may grow between calls.

    Args:
        actor: their class; it is made with the setup, and has a method `ready` that returns None.
        setup: what each actor needs; goes through Ray's object store once.
        num: how many actors; they start with the first call.
        room: what the actors need of the cluster.
        what: the part of the setup that pickling may refuse, for the error, such as `the expert`.
        advice: what helps where actors keep dying, for the error.
        start_timeout_s: how long to wait for the first actor to start.
        address: of a running Ray cluster; None: see `ensure_ray`.
        num_cpus: logical CPUs of a Ray session that is started here; None: one for each actor.

    Raises:
        InputError: the cluster can never hold an actor, or the setup can't be pickled.
    """

    def __init__(
        self,
        actor: type,
        setup: object,
        *,
        num: int,
        room: Request,
        what: str,
        advice: str,
        start_timeout_s: float,
        address: str | None = None,
        num_cpus: int | None = None,
    ) -> None:
        self.ray = ensure_ray(address, num if num_cpus is None else num_cpus)
        self.num = num
        self._room, self._advice, self._start_timeout_s = room, advice, start_timeout_s
        room.require_possible(self.ray)
        self._setup = send(self.ray, setup, f"{what} can't be sent to workers", room.fix)
        self._class = self.ray.remote(**room.options, max_restarts=0)(actor)
        self._waiting: dict[Any, Member[T]] = {}  # reference of the call under way -> member
        self.members: list[Member[T]] = []

    def run(self, work: Work[T], tasks: Iterable[T], check: Callable[[], None] = lambda: None) -> None:
        """Run all tasks. On an error or interrupt, save what can be saved in a few seconds, then raise.

        Args:
            work: how tasks are submitted, and where reports go.
            tasks: the tasks.
            check: called at least once a second; may raise to end the work.

        Raises:
            RunError: actors kept dying with the same task, or can't start; and whatever an actor, `work` or `check` raises.
        """
        call = _Call(work, deque(Pending(task) for task in tasks), check)
        for member in self.members:
            member.unsaved = []
        try:
            while call.queue or any(member.held for member in self.members):
                self._work(call)
                self._save(call)
        except BaseException:
            self._stop(call)
            raise

    def close(self) -> None:
        """Kill the actors. The Ray session stays for others."""
        for member in self.members:
            self.ray.kill(member.actor)
        self.members, self._waiting = [], {}

    def _fill(self) -> None:
        """Start actors until the pool has all of them."""
        while len(self.members) < self.num:
            member: Member[T] = Member(self._class.remote(self._setup))
            self.members.append(member)
            self._waiting[member.actor.ready.remote()] = member

    def _work(self, call: _Call[T]) -> None:
        """Hand out tasks until none is left and none is under way."""
        idle_since = time.monotonic()
        while True:
            call.check()
            self._fill()
            self._hand_out(call)
            if not call.queue and not any(member.current for member in self.members):
                return
            done, _ = self.ray.wait(list(self._waiting), num_returns=1, timeout=_POLL_S)
            if done or any(member.is_ready for member in self.members):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > self._start_timeout_s:
                raise self._room.not_placed(self.ray, self._start_timeout_s)
            for ref in done:
                self._receive(ref, call)

    def _hand_out(self, call: _Call[T]) -> None:
        for member in self.members:
            if call.queue and member.is_ready and member.current is None:
                with delayed_interrupts():  # a call without its reference could not be cancelled
                    member.current = call.queue.popleft()
                    self._waiting[call.work.submit(member, member.current.task)] = member

    def _receive(self, ref: Any, call: _Call[T]) -> None:
        member = self._waiting.pop(ref)
        is_alive, report = self._get(ref, member, call)
        if not is_alive:
            return
        if member.current is None:  # the answer of `ready`
            member.is_ready, call.failed_starts = True, 0
            return
        pending, member.current = member.current, None
        member.unsaved.append(pending)
        if call.work.take(member, pending.task, report):
            member.unsaved = []
        report.raise_error()

    def _save(self, call: _Call[T]) -> None:
        """Have the actors save their results; the tasks of an actor that dies meanwhile go back to the queue."""
        refs = {call.work.save(member): member for member in self.members if member.unsaved}
        for ref, member in refs.items():
            is_alive, answer = self._get(ref, member, call)
            if is_alive:
                call.work.take_saved(member, answer)
                member.unsaved = []

    def _get(self, ref: Any, member: Member[T], call: _Call[T]) -> tuple[bool, Any]:
        """Return whether the actor is alive, and what it returned; raises the error that it raised."""
        try:
            return True, self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except self.ray.exceptions.RayError as error:
            self._lost(member, call, error)
            return False, None

    def _lost(self, member: Member[T], call: _Call[T], error: Exception) -> None:
        """Drop a dead actor, and queue its tasks again: each a limited number of times."""
        self._drop(member)
        for pending in member.held:
            pending.num_deaths += 1
            if pending.num_deaths > MAX_RETRIES:
                when = "running" if member.current else "saving"
                raise RunError(
                    f"workers died {pending.num_deaths} times {call.work.lost(pending.task)}; the last one while {when}: "
                    f"{why_died(error)}; {self._advice}"
                )
        call.queue.extend(member.held)
        if not member.is_ready:
            call.failed_starts += 1
            if call.failed_starts > MAX_RETRIES * self.num:
                raise RunError(f"{self._room.what} can't start: {why_died(error)}")

    def _drop(self, member: Member[T]) -> None:
        self.members.remove(member)
        self._waiting = {ref: other for ref, other in self._waiting.items() if other is not member}
        self.ray.kill(member.actor)  # it may only be unreachable

    def _stop(self, call: _Call[T]) -> None:
        """Have the actors abandon their tasks and save what is complete; drop those that don't answer in time."""
        for ref, member in self._waiting.items():
            if member.current is not None:
                self.ray.cancel(ref)
        busy = [member for member in self.members if member.held]
        refs = {ref: member for member in busy if (ref := call.work.save(member)) is not None}
        done, _ = self.ray.wait(list(refs), num_returns=len(refs), timeout=_STOP_S) if refs else ([], [])
        for ref in done:
            try:
                answer = self.ray.get(ref)
            except self.ray.exceptions.RayError:
                continue  # dead: dropped below
            with suppress(InputError, RunError):  # the first error is the one that counts
                call.work.take_saved(refs[ref], answer)
            self._forget(refs[ref])
            busy.remove(refs[ref])
        for member in busy:
            self._drop(member)

    def _forget(self, member: Member[T]) -> None:
        """Make a member free that has abandoned its task."""
        member.current, member.unsaved = None, []
        self._waiting = {ref: other for ref, other in self._waiting.items() if other is not member}


@dataclass(eq=False)
class _Call(Generic[T]):
    """One call of `run`."""

    work: Work[T]
    queue: deque[Pending[T]]
    check: Callable[[], None]
    failed_starts: int = 0  # since an actor last started

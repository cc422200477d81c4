"""A pool of Ray actors that may die: it hands out tasks, replaces dead actors, and repeats the tasks that were lost with them.

The caller says what a task is and what its report means (`Work`). An error that an actor raises ends the work; the death of an
actor does not, unless the same task loses its actor again and again. A report costs the same with any number of actors.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from distil.errors import InputError, RunError
from distil.interrupts import delayed_interrupts
from distil.rollouts.transport import Transport

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
    reference: Any = None  # of the call whose answer the pool expects
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


class ActorPool(Generic[T]):
    """A number of actors, which may grow between calls.

    Args:
        transport: starts them and reaches them.
        num: how many.
        advice: what helps where actors keep dying, for the error.
        start_timeout_s: how long to wait for the first actor to start.
        room: returns how many there is room for, when one has died, maybe with its node; None: as many as before.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        num: int,
        advice: str,
        start_timeout_s: float,
        room: Callable[[], int] | None = None,
    ) -> None:
        self.num, self._transport, self._room = num, transport, room
        self._advice, self._start_timeout_s = advice, start_timeout_s
        self._answers: SimpleQueue[tuple[Member[T], Any, Future[Any]]] = SimpleQueue()
        self._members: dict[Member[T], None] = {}  # used as an ordered set, as is the next one
        self._idle: dict[Member[T], None] = {}
        self._busy: set[Member[T]] = set()  # those that work on a task

    @property
    def members(self) -> list[Member[T]]:
        """The actors, those that are starting included."""
        return list(self._members)

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
        for member in self._members:
            member.unsaved = []
        try:
            while call.queue or any(member.held for member in self._members):
                self._work(call)
                self._save(call)
        except BaseException:
            self._stop(call)
            raise

    def close(self) -> None:
        """Kill the actors."""
        for member in self.members:
            self._drop(member)

    def _fill(self) -> None:
        """Start actors until the pool has all of them."""
        while len(self._members) < self.num:
            with delayed_interrupts():
                member: Member[T] = Member(self._transport.start())
                self._members[member] = None
                self._expect(member, member.actor.ready.remote())

    def _expect(self, member: Member[T], reference: Any) -> None:
        """Have the answer of a call put into the queue of answers when it comes."""
        member.reference = reference
        self._transport.answer(reference).add_done_callback(lambda answer: self._answers.put((member, reference, answer)))

    def _work(self, call: _Call[T]) -> None:
        """Hand out tasks until none is left and none is under way."""
        idle_since = time.monotonic()
        while True:
            call.check()
            self._fill()
            self._hand_out(call)
            if not call.queue and not self._busy:
                return
            if self._receive(call) or any(member.is_ready for member in self._members):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > self._start_timeout_s:
                raise self._transport.not_placed(self._start_timeout_s)

    def _hand_out(self, call: _Call[T]) -> None:
        while call.queue and self._idle:
            with delayed_interrupts():  # a call without its reference could not be cancelled
                member, _ = self._idle.popitem()
                member.current = call.queue.popleft()
                self._busy.add(member)
                self._expect(member, call.work.submit(member, member.current.task))

    def _receive(self, call: _Call[T]) -> bool:
        """Wait for an answer, up to a second, and take it; return whether one came."""
        try:
            member, reference, answer = self._answers.get(timeout=_POLL_S)
        except Empty:
            return False
        if member.reference is not reference:
            return True  # of an actor that was dropped, or of a call that was abandoned
        is_alive, report = self._get(answer, member, call)
        if is_alive and member.current is None:  # the answer of `ready`
            member.is_ready, call.failed_starts = True, 0
            self._free(member)
        elif is_alive:
            self._take(member, report, call)
        return True

    def _take(self, member: Member[T], report: Any, call: _Call[T]) -> None:
        pending = member.current
        assert pending is not None
        member.unsaved.append(pending)
        self._free(member)
        if call.work.take(member, pending.task, report):
            member.unsaved = []
        report.raise_error()

    def _free(self, member: Member[T]) -> None:
        """Make a member ready for the next task."""
        member.current = member.reference = None
        self._busy.discard(member)
        self._idle[member] = None

    def _save(self, call: _Call[T]) -> None:
        """Have the actors save their results; the tasks of an actor that dies meanwhile go back to the queue."""
        unsaved = [member for member in self._members if member.unsaved]
        answers = [self._transport.answer(call.work.save(member)) for member in unsaved]
        for member, answer in zip(unsaved, answers, strict=True):
            is_alive, value = self._get(answer, member, call)
            if is_alive:
                call.work.take_saved(member, value)
                member.unsaved = []

    def _get(self, answer: Future[Any], member: Member[T], call: _Call[T]) -> tuple[bool, Any]:
        """Return whether the actor is alive, and what it returned; raises the error that it raised."""
        try:
            return True, answer.result()
        except Exception as error:  # whatever the actor raised
            why = self._transport.why_gone(error)
            if why is None:
                raise
        self._lost(member, call, why)
        return False, None

    def _lost(self, member: Member[T], call: _Call[T], why: str) -> None:
        """Drop a dead actor, and queue its tasks again: each a limited number of times."""
        self._drop(member)
        if self._room is not None:
            self.num = max(1, min(self.num, self._room()))
        for pending in member.held:
            pending.num_deaths += 1
            if pending.num_deaths > MAX_RETRIES:
                when = "running" if member.current else "saving"
                raise RunError(
                    f"workers died {pending.num_deaths} times {call.work.lost(pending.task)}; the last one while {when}: "
                    f"{why}; {self._advice}"
                )
        call.queue.extend(member.held)
        if not member.is_ready:
            call.failed_starts += 1
            if call.failed_starts > MAX_RETRIES * self.num:
                raise RunError(f"{self._transport.what} can't start: {why}")

    def _drop(self, member: Member[T]) -> None:
        self._members.pop(member, None)
        self._idle.pop(member, None)
        self._busy.discard(member)
        member.reference = None
        self._transport.kill(member.actor)  # it may only be unreachable

    def _stop(self, call: _Call[T]) -> None:
        """Have the actors abandon their tasks and save what is complete; drop those that don't answer in time."""
        for member in self._busy:
            if member.reference is not None:
                self._transport.cancel(member.reference)
        busy = dict.fromkeys(member for member in self._members if member.held)
        saves = ((member, reference) for member in busy if (reference := call.work.save(member)) is not None)
        answers = {self._transport.answer(reference): member for member, reference in saves}
        for answer in wait(answers, _STOP_S).done:
            member = answers[answer]
            if answer.exception() is not None:
                continue  # dead: dropped below
            with suppress(InputError, RunError):  # the first error is the one that counts
                call.work.take_saved(member, answer.result())
            member.unsaved = []
            self._free(member)
            del busy[member]
        for member in busy:
            self._drop(member)


@dataclass(eq=False)
class _Call(Generic[T]):
    """One call of `run`."""

    work: Work[T]
    queue: deque[Pending[T]]
    check: Callable[[], None]
    failed_starts: int = 0  # since an actor last started

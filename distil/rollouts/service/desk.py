"""The desk: collects questions of many clients into batches for the expert, returns the answers, and keeps them in the ledger.

It does not use Ray: an expert's actor is a function here, called in a thread. A failed call is retried after a pause. A call
that keeps failing leaves its rows unanswered. Until a call succeeds again, other calls are tried only once, so that no client
waits long for an expert that is down.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distil.errors import InputError, RunError
from distil.rollouts.service.config import ServiceConfig
from distil.rollouts.service.ledger import Ledger, Memory, empty, row_keys
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations

MAX_BACKOFF_S = 10.0
Call = Callable[[Observations], Labels]


@dataclass(eq=False)
class _Chunk:
    """Rows of one question that were not asked before."""

    observations: Mapping[str, Array]
    keys: list[bytes]
    labels: Labels
    arrived_s: float
    left: int  # rows without a decision
    done: Future[None] = field(default_factory=Future)


_Part = tuple[_Chunk, int, int]  # rows [start, end) of a chunk


@dataclass(kw_only=True)
class Account:
    """Counts of questions and answers since the desk opened."""

    calls: int = 0
    failures: int = 0  # calls that raised or took too long
    labels: int = 0  # observations that the expert answered: these cost
    repeated: int = 0  # observations that were asked again, and answered from memory
    given_up: int = 0  # observations without an answer after all retries
    expert_s: float = 0.0  # inside successful calls, summed over lanes
    error: str = ""  # of the last failure


class Ticket:
    """A submitted question."""

    def __init__(self, labels: Labels, parts: Sequence[tuple[NDArray[np.int64], _Chunk, NDArray[np.int64]]]) -> None:
        self._labels, self._parts = labels, parts

    @property
    def futures(self) -> list[Future[None]]:
        """What to wait for."""
        return [chunk.done for _, chunk, _ in self._parts]

    def result(self) -> Labels:
        """Return the answers [N] once all futures are done; the mask is False where there is none.

        Raises:
            RunError: the expert's answers have the wrong shape or type; the disk is full.
        """
        for rows, chunk, theirs in self._parts:
            chunk.done.result()
            self._labels.actions[rows], self._labels.mask[rows] = chunk.labels.actions[theirs], chunk.labels.mask[theirs]
        return self._labels


class Desk:
    """Batches questions, remembers answers, retries failed calls. Thread-safe.

    Args:
        lanes: functions that call the expert; each is called by one thread at a time. Lanes beyond `slots` prepare the next
            calls: they take full batches only, so that other batches can fill meanwhile.
        slots: calls that the expert works on at a time; None: the number of lanes.
        action: the action space.
        config: sizes, times and limits.
        ledger: where labels are kept; None: only in memory.
    """

    def __init__(
        self,
        lanes: Sequence[Call],
        action: Leaf,
        config: ServiceConfig,
        ledger: Ledger | None = None,
        *,
        slots: int | None = None,
    ) -> None:
        self._config, self._leaf, self._ledger = config, action, ledger
        self._slots, self._busy = slots or len(lanes), 0
        self._memory = Memory(action, config.cache)
        self.account = Account()
        if ledger is not None:
            ledger.read_into(self._memory)
        self._changed = threading.Condition()
        self._queue: deque[tuple[_Chunk, int]] = deque()  # chunk, first row that isn't taken
        self._waiting = 0  # rows in the queue
        self._asked: dict[bytes, tuple[_Chunk, int]] = {}  # in the queue or under way
        self._closed = self._is_down = False
        self._next_call_s = 0.0
        self._threads = [threading.Thread(target=self._serve, args=(call,), daemon=True) for call in lanes]
        for thread in self._threads:
            thread.start()

    def submit(self, observations: Observations) -> Ticket:
        """Submit a question: leaves [N, ...]. Rows that are known or already submitted are not asked again."""
        keys = row_keys(observations)
        labels = empty(self._leaf, len(keys))
        parts = []
        with self._changed:
            missing = self._memory.get(keys, labels)
            elsewhere: dict[_Chunk, tuple[list[int], list[int]]] = {}
            new: dict[bytes, int] = {}
            for row in missing.tolist():
                known = self._asked.get(keys[row])
                if known is None:
                    new.setdefault(keys[row], row)
                else:
                    rows, theirs = elsewhere.setdefault(known[0], ([], []))
                    rows.append(row)
                    theirs.append(known[1])
            parts += [(np.array(rows), chunk, np.array(theirs)) for chunk, (rows, theirs) in elsewhere.items()]
            if new:
                parts.append(self._enqueue(observations, keys, missing, new))
            self.account.repeated += len(keys) - len(new)
        return Ticket(labels, parts)

    def ask(self, observations: Observations) -> Labels:
        """Submit a question and wait for the answers."""
        ticket = self.submit(observations)
        wait(ticket.futures)
        return ticket.result()

    def close(self) -> None:
        """Give up waiting questions, and end the threads after their current calls."""
        with self._changed:
            self._closed = True
            for chunk, _ in self._queue:
                if not chunk.done.done():
                    chunk.done.set_result(None)
            self._queue.clear()
            self._changed.notify_all()
        if self._ledger is not None:
            self._ledger.close()

    def _enqueue(
        self, observations: Observations, keys: list[bytes], missing: NDArray[np.int64], new: dict[bytes, int]
    ) -> tuple[NDArray[np.int64], _Chunk, NDArray[np.int64]]:
        """Put new rows in the queue; return the question's rows that wait for them, the chunk, and its matching rows."""
        chosen = np.fromiter(new.values(), np.int64, len(new))
        chunk = _Chunk(
            observations={name: values[chosen] for name, values in observations.items()},
            keys=list(new),
            labels=empty(self._leaf, len(new)),
            arrived_s=time.monotonic(),
            left=len(new),
        )
        places = {key: (chunk, place) for place, key in enumerate(new)}
        self._asked.update(places)
        self._queue.append((chunk, 0))
        self._waiting += len(new)
        self._changed.notify_all()
        if len(new) == len(missing):
            return chosen, chunk, np.arange(len(new))
        rows = [row for row in missing.tolist() if keys[row] in new]
        return np.array(rows), chunk, np.array([places[keys[row]][1] for row in rows])

    def _serve(self, call: Call) -> None:
        """Run one lane until the desk is closed."""
        while (parts := self._take()) is not None:
            try:
                self._give(parts, self._answer(call, parts))
            except (InputError, RunError) as error:
                self._refuse(parts, error)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _take(self) -> list[_Part] | None:
        """Return the next batch once it is full or its oldest row has waited long enough; None: the desk is closed."""
        with self._changed:
            while True:
                if self._closed:
                    return None
                if not self._queue:
                    self._changed.wait()
                    continue
                left_s = self._queue[0][0].arrived_s + self._config.max_wait_s - time.monotonic()
                is_free = self._busy < self._slots
                if self._waiting >= self._config.max_batch or (left_s <= 0 and is_free):
                    self._busy += 1
                    return self._cut()
                self._changed.wait(left_s if is_free else None)

    def _cut(self) -> list[_Part]:
        parts, room = list[_Part](), self._config.max_batch
        while self._queue and room:
            chunk, start = self._queue.popleft()
            end = min(start + room, len(chunk.keys))
            parts.append((chunk, start, end))
            if end < len(chunk.keys):
                self._queue.appendleft((chunk, end))
            room -= end - start
        self._waiting -= self._config.max_batch - room
        return parts

    def _answer(self, call: Call, parts: Sequence[_Part]) -> Labels | None:
        """Return the expert's answers, with retries; None: all tries failed. Invalid answers raise."""
        names = parts[0][0].observations
        batch = {name: np.concatenate([c.observations[name][a:b] for c, a, b in parts]) for name in names}
        tries = 1 if self._is_down else 1 + self._config.retries
        for number in range(tries):
            self._keep_rate()
            started = time.perf_counter()
            try:
                labels = call(batch)
            except (InputError, RunError):
                raise  # the expert works, but not for this environment
            except Exception as error:  # the user's expert, or its actor: any kind
                with self._changed:
                    self.account.calls += 1
                    self.account.failures += 1
                    self.account.error = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                if number + 1 < tries:
                    self._pause(min(self._config.backoff_s * 2**number, MAX_BACKOFF_S))
                continue
            with self._changed:
                self.account.calls += 1
                self.account.expert_s += time.perf_counter() - started
                self._is_down = False
            return labels
        self._is_down = True
        return None

    def _keep_rate(self) -> None:
        """Wait until a call is allowed."""
        if self._config.calls_per_s is None:
            return
        with self._changed:
            now = time.monotonic()
            start = max(now, self._next_call_s)
            self._next_call_s = start + 1 / self._config.calls_per_s
        self._pause(start - now)

    def _pause(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        with self._changed:
            while not self._closed and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(left_s)

    def _give(self, parts: Sequence[_Part], labels: Labels | None) -> None:
        """Keep answers, then return them to the clients; RunError if they can't be kept."""
        keys = [key for chunk, start, end in parts for key in chunk.keys[start:end]]
        with self._changed:
            if labels is not None and self._ledger is not None:
                self._ledger.append(keys, labels)
            if labels is None:
                self.account.given_up += len(keys)
            else:
                self._memory.put(keys, labels)
                self.account.labels += len(keys)
            at = 0
            for chunk, start, end in parts:
                if labels is not None:
                    rows = slice(at, at + end - start)
                    chunk.labels.actions[start:end], chunk.labels.mask[start:end] = labels.actions[rows], labels.mask[rows]
                at += end - start
                self._close_rows(chunk, start, end, None)

    def _refuse(self, parts: Sequence[_Part], error: Exception) -> None:
        with self._changed:
            for chunk, start, end in parts:
                self._close_rows(chunk, start, end, error)

    def _close_rows(self, chunk: _Chunk, start: int, end: int, error: Exception | None) -> None:
        for key in chunk.keys[start:end]:
            self._asked.pop(key, None)
        chunk.left -= end - start
        if chunk.done.done():
            return
        if error is not None:
            chunk.done.set_exception(error)
        elif chunk.left == 0:
            chunk.done.set_result(None)

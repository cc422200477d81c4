"""Where plans and results change hands between the run and its ranks: a plain class that `ray_train` makes an actor of.

The run posts a plan; each rank asks for the plan that comes after its last one; rank 0 reports it done. A group that was
restarted asks the same question, and gets the plan that has not been reported yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from distil.plans import Metrics, UpdatePlan
from distil.policies.spec import PolicyRef
from distil.store.weights import Weights


@dataclass(frozen=True, kw_only=True)
class PartRef:
    """Episodes by name: ranks map the data themselves."""

    store: str  # folder or URL
    version: int
    selection: tuple[int, ...]  # episodes of that version
    weights: Weights | None = None  # of these episodes, besides the plan's


@dataclass(frozen=True, kw_only=True)
class StreamRef:
    """What a stream draws from, by name; see `TrainingData`."""

    parts: tuple[PartRef, ...]
    shares: tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class Order:
    """A plan and the streams that it trains on."""

    index: int  # counts the run's updates
    plan: UpdatePlan
    streams: Mapping[str, StreamRef]


@dataclass(frozen=True, kw_only=True)
class Done:
    """What rank 0 reports."""

    metrics: Metrics
    policy: PolicyRef


@dataclass(frozen=True, kw_only=True)
class Status:
    """How the current plan stands."""

    result: Done | None
    error: Exception | None  # ends the run
    num_starts: int  # of a group, since the last plan was reported
    fault: str  # the last one that a rank met, for the message
    progress: tuple[int, int, Mapping[str, float]] | None
    pids: Mapping[int, int]  # of the ranks' processes, by rank
    notes: tuple[str, ...]  # since the last status


@dataclass(kw_only=True)
class Mailbox:
    """The actor's state. Its methods never block for more than `timeout_s`."""

    orders: list[Order] = field(default_factory=list)
    results: dict[int, Done] = field(default_factory=dict)
    error: Exception | None = None
    closed: bool = False
    num_starts: int = 0
    fault: str = ""
    progress: tuple[int, int, Mapping[str, float]] | None = None
    pids: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, order: Order) -> None:
        """The run: carry out `order`."""
        self.orders.append(order)
        self.progress = None
        self._wake()

    async def started(self, rank: int, pid: int) -> None:
        """A rank: it begins, in process `pid`."""
        self.pids[rank] = pid
        self.num_starts += rank == 0

    async def next_order(self, after: int, timeout_s: float) -> Order | bool:
        """A rank: return the first order after number `after` that isn't done; True: none yet, ask again; False: stop."""
        for waited in (False, True):
            if self.closed:
                return False
            order = next((order for order in self.orders if order.index > after and order.index not in self.results), None)
            if order is not None:
                return order
            if not waited:
                await self._wait(timeout_s)
        return True

    async def tell(self, done: int, total: int, figures: Mapping[str, float]) -> bool:
        """Rank 0: how far the update has come; return whether to continue."""
        self.progress = (done, total, figures)
        self._wake()
        return not self.closed

    async def note(self, text: str) -> None:
        """Rank 0: what a user should know."""
        self.notes.append(text)
        self._wake()

    async def report(self, index: int, result: Done) -> None:
        """Rank 0: order `index` is done, and durable."""
        self.results = {index: result}
        self.orders = [order for order in self.orders if order.index > index]
        self.num_starts = 0
        self._wake()

    async def fail(self, error: Exception) -> None:
        """A rank: the run can't continue on any rank."""
        self.error = self.error or error
        self._wake()

    async def stumble(self, fault: str) -> None:
        """A rank: it ends with `fault`; Train will start the group again."""
        self.fault = fault

    async def status(self, index: int, timeout_s: float) -> Status:
        """The run: how order `index` stands; waits for news up to `timeout_s`."""
        if index not in self.results and self.error is None:
            await self._wait(timeout_s)
        progress, self.progress = self.progress, None
        notes, self.notes = tuple(self.notes), []
        return Status(
            result=self.results.get(index),
            error=self.error,
            num_starts=self.num_starts,
            fault=self.fault,
            progress=progress,
            pids=dict(self.pids),
            notes=notes,
        )

    async def close(self) -> None:
        """The run: ranks are to end."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return

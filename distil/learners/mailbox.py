"""Exchange of plans and results between the run and its ranks: a plain class that `ray_train` turns into a Ray actor.

The run posts a plan; each rank asks for the first plan after its last one; rank 0 reports the result. A restarted group asks
the same, and gets the plan that has no result yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from distil.plans import Metrics, UpdatePlan
from distil.policies.spec import PolicyRef
from distil.rewards.ref import RewardRef
from distil.store.weights import Weights


@dataclass(frozen=True, kw_only=True)
class PartRef:
    """Reference to episodes: ranks map the data themselves."""

    store: str  # folder or URL
    version: int
    selection: tuple[int, ...]  # episodes of that version
    weights: Weights | None = None  # of these episodes, in addition to the plan's


@dataclass(frozen=True, kw_only=True)
class StreamRef:
    """Reference to the data of a stream; see `TrainingData`."""

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
    """The result of an order, as rank 0 reports it."""

    metrics: Metrics
    policy: PolicyRef
    reward: RewardRef | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """Progress of the current order."""

    result: Done | None
    error: Exception | None  # ends the run
    num_starts: int  # of the group, since the last result
    fault: str  # the last one that ended a rank, for the message
    progress: tuple[int, int, Mapping[str, float]] | None
    pids: Mapping[int, int]  # of the ranks' processes, by rank
    notes: tuple[str, ...]  # since the last status
    shown: tuple[tuple[int, PolicyRef], ...]  # the same: steps taken, and the policy then


@dataclass(kw_only=True)
class Mailbox:
    """The state of the Ray actor. No method blocks for longer than its `timeout_s`."""

    orders: list[Order] = field(default_factory=list)
    results: dict[int, Done] = field(default_factory=dict)
    error: Exception | None = None
    closed: bool = False
    num_starts: int = 0
    fault: str = ""
    progress: tuple[int, int, Mapping[str, float]] | None = None
    pids: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    shown: list[tuple[int, PolicyRef]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, order: Order) -> None:
        """The run: carry out `order`."""
        self.orders.append(order)
        self.progress = None
        self._wake()

    async def started(self, rank: int, pid: int) -> None:
        """A rank: it has started, in process `pid`."""
        self.pids[rank] = pid
        self.num_starts += rank == 0

    async def next_order(self, after: int, timeout_s: float) -> Order | bool:
        """A rank: return the first order after number `after` without a result; True: none yet, ask again; False: stop."""
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
        """Rank 0: steps taken so far; return whether to continue."""
        self.progress = (done, total, figures)
        self._wake()
        return not self.closed

    async def note(self, text: str) -> None:
        """Rank 0: a line for the user."""
        self.notes.append(text)
        self._wake()

    async def show(self, step: int, policy: PolicyRef) -> None:
        """Rank 0: the policy after so many steps of the order, to be looked at while the ranks continue."""
        self.shown.append((step, policy))
        self._wake()

    async def report(self, index: int, result: Done) -> None:
        """Rank 0: order `index` is done, and its checkpoint durable."""
        self.results = {index: result}
        self.orders = [order for order in self.orders if order.index > index]
        self.num_starts = 0
        self._wake()

    async def fail(self, error: Exception) -> None:
        """A rank: the run cannot continue, on any rank."""
        self.error = self.error or error
        self._wake()

    async def stumble(self, fault: str) -> None:
        """A rank: it ends with `fault`; Ray Train will restart the group."""
        self.fault = fault

    async def status(self, index: int, timeout_s: float) -> Status:
        """The run: return the progress of order `index`; wait up to `timeout_s` for a change."""
        if index not in self.results and self.error is None:
            await self._wait(timeout_s)
        progress, self.progress = self.progress, None
        notes, self.notes = tuple(self.notes), []
        shown, self.shown = tuple(self.shown), []
        return Status(
            result=self.results.get(index),
            error=self.error,
            num_starts=self.num_starts,
            fault=self.fault,
            progress=progress,
            pids=dict(self.pids),
            notes=notes,
            shown=shown,
        )

    async def close(self) -> None:
        """The run: the ranks must end."""
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

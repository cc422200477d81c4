"""Who labels the shards: this process, or Ray actors. A shard whose actor died is labelled again by another one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from distil.cluster import START_TIMEOUT_S, Request
from distil.console import duration
from distil.errors import InputError, RunError
from distil.rollouts.pool import ActorPool, Member, Work
from distil.rollouts.relabel_worker import LabelSetup, ShardReport, ShardTask, Tell, label_shard
from distil.rollouts.sizing import Sizing
from distil.rollouts.threads import one_thread
from distil.rollouts.transport import RayTransport
from distil.types import Note

_ROOM = Request(what="labelling workers", num=1, each={"CPU": 1}, fix="label with 0 workers")
_ADVICE = "if memory is short, use fewer workers"
Take = Callable[[ShardTask, ShardReport], None]


def label_here(setup: LabelSetup, tasks: Iterable[ShardTask], take: Take, tell: Tell) -> None:
    """Label the shards in this process, one after another, with one thread.

    Args:
        setup: the store and the expert.
        tasks: the shards.
        take: called with each shard's report, before an error in it is raised.
        tell: called after each episode with the number of its new labels.
    """
    with one_thread():
        for task in tasks:
            report = label_shard(setup, task, tell=tell)
            take(task, report)
            report.raise_error()


class RemoteLabeller:
    """The actor class: labels one shard at a time, and stops when its call is cancelled."""

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
        """Return the last task and its report: the caller of a cancelled call doesn't get them."""
        return self._last


def labellers(setup: LabelSetup, num: int, address: str | None = None) -> ActorPool[ShardTask]:
    """Return a number of Ray actors that label, with one core and one shard at a time each; they start with their first task.

    Args:
        setup: the store and the expert.
        num: how many actors.
        address: of a running Ray cluster; None: see `ensure_ray`.

    Raises:
        InputError: the expert cannot be sent to the actors.
        RunError: there is no Ray session, and none can be started.
    """
    transport = RayTransport(
        RemoteLabeller, setup, room=_ROOM, what=f"expert {setup.expert.name}", address=address, num_cpus=num
    )
    return ActorPool(transport, num=num, advice=_ADVICE, start_timeout_s=START_TIMEOUT_S)


def label_with_actors(pool: ActorPool[ShardTask], tasks: Iterable[ShardTask], take: Take) -> None:
    """Label the shards with the actors of `labellers`, and end them.

    After an error or interrupt, the actors write what is answered; `take` gets those that answer in time.

    Args:
        pool: the actors.
        tasks: the shards.
        take: called with each shard's report, before an error in it is raised.

    Raises:
        RunError: actors kept dying on the same shard, or can't start; and what a report or `take` raises.
    """
    try:
        pool.run(_Shards(take), tasks)
    finally:
        pool.close()


def label_where_it_pays(
    setup: LabelSetup, tasks: Sequence[ShardTask], take: Take, tell: Tell, note: Note, sizing: Sizing | None = None
) -> None:
    """Label the shards in this process until Ray actors on this machine pay, see `distil.rollouts.sizing`.

    Args:
        setup: the store and the expert.
        tasks: the shards.
        take: called with each shard's report, before an error in it is raised.
        tell: called after each episode that this process labels, with the number of its new labels.
        note: told when actors take over.
        sizing: decides.
    """
    left, pools = deque(tasks), list[ActorPool[ShardTask]]()
    sizing = Sizing() if sizing is None else sizing

    def take_over(num_left: int) -> bool:
        try:
            pools.append(labellers(setup, min(num_left, sizing.num_workers(num_left))))
        except (InputError, RunError) as error:
            note(f"label: all work stays in this process: {error}")
            return False
        time_left = duration(sizing.rest_s(num_left))
        note(f"label: {pools[0].num} Ray actors take over: {num_left} shards would take {time_left} more in this process")
        return True

    label_here(setup, chain.from_iterable(sizing.chunks(left, 1, 1, take_over)), take, tell)
    if pools:
        label_with_actors(pools[0], left, take)


class _Shards(Work[ShardTask]):
    """A task is a shard: its labels are saved when it is reported."""

    def __init__(self, take: Take) -> None:
        self._take = take

    def submit(self, member: Member[ShardTask], task: ShardTask) -> Any:
        return member.actor.label.remote(task)

    def take(self, member: Member[ShardTask], task: ShardTask, report: ShardReport) -> bool:
        self._take(task, report)
        return True

    def save(self, member: Member[ShardTask]) -> Any:
        return member.actor.last.remote()

    def take_saved(self, member: Member[ShardTask], answer: tuple[ShardTask, ShardReport] | None) -> None:
        if answer is not None and member.current is not None and answer[0] == member.current.task:
            self._take(*answer)

    def lost(self, task: ShardTask) -> str:
        return f"while labelling {task.entry.path}"

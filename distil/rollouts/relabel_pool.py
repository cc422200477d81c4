"""Who labels the shards: this process, or Ray actors. A shard whose actor died is labelled again by another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distil.cluster import START_TIMEOUT_S, Request
from distil.rollouts.pool import ActorPool, Member, Work
from distil.rollouts.relabel_worker import LabelSetup, ShardReport, ShardTask, Tell, label_shard

_ROOM = Request(what="labelling workers", num=1, each={"CPU": 1}, fix="label with 0 workers")
_ADVICE = "if memory is short, use fewer workers"
Take = Callable[[ShardTask, ShardReport], None]


def label_here(setup: LabelSetup, tasks: Sequence[ShardTask], take: Take, tell: Tell) -> None:
    """Label the shards in this process, one after another.

    Args:
        setup: the store and the expert.
        tasks: the shards.
        take: called with each shard's report, before an error in it is raised.
        tell: called after each episode with the number of its new labels.
    """
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


def label_with_actors(
    setup: LabelSetup, tasks: Sequence[ShardTask], take: Take, num_workers: int, address: str | None = None
) -> None:
    """Label the shards with Ray actors, one core and one shard at a time each.

    After an error or interrupt, the actors write what is answered; `take` gets those that answer in time.

    Args:
        setup: the store and the expert.
        tasks: the shards.
        take: called with each shard's report, before an error in it is raised.
        num_workers: how many actors.
        address: of a running Ray cluster; None: see `ensure_ray`.

    Raises:
        InputError: the expert can't be sent to the actors.
        RunError: actors kept dying on the same shard, or can't start; and what a report or `take` raises.
    """
    what = f"expert {setup.expert.name}"
    pool: ActorPool[ShardTask] = ActorPool(
        RemoteLabeller,
        setup,
        num=num_workers,
        room=_ROOM,
        what=what,
        advice=_ADVICE,
        start_timeout_s=START_TIMEOUT_S,
        address=address,
    )
    try:
        pool.run(_Shards(take), tasks)
    finally:
        pool.close()


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

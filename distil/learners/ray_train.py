"""The learner on Ray Train: one worker group for the whole run, which gets its plans from a mailbox.

A new group takes 20-30 s to start, a plan from the mailbox some milliseconds. If a rank dies, Train restarts the group, which
takes the plan without a result from the mailbox and continues from its newest checkpoint.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import ray
import ray.train
import ray.train.torch

from distil.cluster import START_TIMEOUT_S, Request, beside_driver
from distil.errors import InputError, RunError
from distil.learners.base import LearnerSetup, Watch, unwatched
from distil.learners.data import Streams, TrainingData
from distil.learners.mailbox import Done, Mailbox, Order, PartRef, Status, StreamRef
from distil.learners.network import TorchConfig
from distil.learners.rank import Rank, choose_device
from distil.objectives.ranks import Ranks
from distil.plans import Metrics, UpdatePlan
from distil.policies.spec import PolicyRef
from distil.rewards.ref import RewardRef
from distil.store.store import Store
from distil.types import Note, Progress, silent, unheard

if TYPE_CHECKING:
    from distil.learners.config import LearnerConfig

_POLL_S = 1.0
_MAX_STARTS = 4  # of a group on one plan
_CLOSE_TIMEOUT_S = 30.0
_ABORT_TIMEOUT_S = 1.0


class _Closed(BaseException):
    """The run has closed the mailbox during an update of this rank."""


@dataclass(frozen=True, kw_only=True)
class _RankSetup:
    setup: LearnerSetup
    mailbox: Any  # its actor handle
    use_gpu: bool


class RayLearner:
    """`num_learners` ranks with DistributedDataParallel: NCCL on GPUs, otherwise gloo."""

    def __init__(
        self,
        setup: LearnerSetup,
        progress: Progress = silent,
        note: Note = unheard,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Start the group in the background; Ray must be running, with a free CPU (or GPU) per rank.

        Raises:
            InputError: the cluster is too small for the group.
        """
        self._progress, self._note, self._start_timeout_s = progress, note, start_timeout_s
        gpu = use_gpu(setup.config)
        self._room = room(setup.config, "GPU" if gpu else "CPU")
        self._room.require_possible(ray)
        note(f"learner: starting Ray Train (learner.num_learners={setup.config.num_learners})")
        first = Rank(setup)  # before anything starts: removes old checkpoints, or checks those to resume from
        self._ref, self._reward = first.policy, first.reward
        self._index, self._idle = -1, True
        self._mailbox: Any = ray.remote(num_cpus=0, max_concurrency=64, scheduling_strategy=beside_driver(ray))(
            Mailbox
        ).remote()
        self._fault: BaseException | None = None
        self._closed = False
        rank = _RankSetup(setup=replace(setup, resume=True), mailbox=self._mailbox, use_gpu=gpu)
        self._trainer = ray.train.torch.TorchTrainer(
            _rank_main,
            train_loop_config={"rank": rank},
            scaling_config=ray.train.ScalingConfig(
                num_workers=setup.config.num_learners,
                use_gpu=gpu,
                resources_per_worker=dict(self._room.each),
                label_selector=dict(setup.config.labels) or None,
            ),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=ray.train.RunConfig(
                name=f"group-{uuid.uuid4().hex[:8]}",
                storage_path=str(setup.folder / "ray_train"),
                failure_config=ray.train.FailureConfig(max_failures=-1),  # `_check` counts them, by plan
            ),
        )
        self._thread = threading.Thread(target=self._run_group, name="ray-train", daemon=True)
        self._thread.start()

    @property
    def policy(self) -> PolicyRef:
        """The policy after the last finished update; version 0 is the untrained one."""
        return self._ref

    @property
    def reward(self) -> RewardRef | None:
        """The reward that the last finished update learned; None: the objective learns none."""
        return self._reward

    def update(self, plan: UpdatePlan, streams: Streams, watch: Watch = unwatched) -> Metrics:
        """Have the group carry out `plan`.

        Raises:
            InputError: a rank refused the data, the checkpoints or the device.
            RunError: the group didn't start, or died repeatedly.
        """
        self._index += 1
        order = Order(index=self._index, plan=plan, streams={name: _ref(data) for name, data in streams.items()})
        self._idle = False
        ray.get(self._mailbox.post.remote(order))
        posted_s = time.monotonic()
        while True:
            status: Status = ray.get(self._mailbox.status.remote(self._index, _POLL_S))
            for text in status.notes:
                self._note(text)
            if status.progress is not None:
                done, total, figures = status.progress
                self._progress("update", done, total, **figures)
            for step, policy in status.shown:
                watch(step, policy)
            if status.result is not None:
                self._ref, self._reward, self._idle = status.result.policy, status.result.reward, True
                return status.result.metrics
            self._check(status, time.monotonic() - posted_s)

    def rank_pids(self) -> dict[int, int]:
        """Return the process id of each rank that has started."""
        return dict(ray.get(self._mailbox.status.remote(self._index, 0)).pids)

    def close(self) -> None:
        """End the group. During an update it is told to stop, and waited for one second at most."""
        if self._closed:
            return
        self._closed = True
        ray.get(self._mailbox.close.remote())
        self._thread.join(_CLOSE_TIMEOUT_S if self._idle else _ABORT_TIMEOUT_S)
        if not self._thread.is_alive():
            ray.kill(self._mailbox)

    def _run_group(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # `_check` raises it in the thread that waits for the result
            self._fault = error
        if self._closed and ray.is_initialized():  # no longer used; handles that Ray has passed on would keep it alive
            ray.kill(self._mailbox)

    def _check(self, status: Status, waited_s: float) -> None:
        if status.error is not None:
            raise status.error
        if status.num_starts > _MAX_STARTS:
            raise RunError(f"the learners died {status.num_starts - 1} times in one update: {status.fault or 'killed'}")
        if not self._thread.is_alive():
            lines = str(self._fault or status.fault or "no reason given").strip().splitlines()
            raise RunError(f"the learners ended: {lines[-1]}")
        if not status.pids and waited_s > self._start_timeout_s:
            raise self._room.not_placed(ray, waited_s)


def room(config: LearnerConfig, device: Literal["CPU", "GPU"]) -> Request:
    """Return what the ranks need from the cluster."""
    fix = "lower learner.num_learners or rollouts.num_workers" + (", or change learner.labels" if config.labels else "")
    each = {device: 1.0, **config.resources}
    return Request(what="learners", num=config.num_learners, each=each, fix=fix, labels=config.labels)


def use_gpu(config: LearnerConfig) -> bool:
    """Return whether each learner gets a GPU; InputError if `device` is cuda and the cluster has too few, and adds no nodes."""
    gpus = room(config, "GPU")
    if config.device == "cuda" and not gpus.is_possible(ray):
        where = "the nodes of learner.labels have" if config.labels else "the cluster has"
        raise InputError(f"learner.device: {where} fewer than {config.num_learners} GPUs; set learner.device=cpu")
    return config.device == "cuda" or (config.device == "auto" and gpus.room(ray) >= config.num_learners)


def _rank_main(config: dict[str, _RankSetup]) -> None:
    """Run one rank: build it, then carry out plan after plan until the mailbox closes."""
    setup, mailbox = config["rank"].setup, config["rank"].mailbox
    context = ray.train.get_context()
    number = context.get_world_rank()
    ray.get(mailbox.started.remote(number, os.getpid()))
    try:
        device = ray.train.torch.get_device() if config["rank"].use_gpu else choose_device("cpu")
        ranks = Ranks(rank=number, world_size=context.get_world_size(), device=device)
        note = (lambda text: ray.get(mailbox.note.remote(text))) if number == 0 else unheard
        with closing(Rank(setup, ranks=ranks, progress=_teller(mailbox, number), note=note)) as rank:
            _serve(rank, ranks, mailbox)
    except (InputError, RunError) as error:
        ray.get(mailbox.fail.remote(type(error)(str(error))))
    except _Closed:
        os._exit(1)  # the other ranks wait in a collective, which only a closed connection ends
    except Exception as error:
        ray.get(mailbox.stumble.remote(f"{type(error).__name__}: {error}"))
        raise


def _serve(rank: Rank, ranks: Ranks, mailbox: Any) -> None:
    last = -1
    while order := ray.get(mailbox.next_order.remote(last, _POLL_S)):
        if order is True:
            continue
        assert ranks.of_first(order.index) == order.index
        streams = {name: _data(ref) for name, ref in order.streams.items()}
        watch = (lambda *shown: ray.get(mailbox.show.remote(*shown))) if ranks.rank == 0 else unwatched
        metrics = rank.update(order.plan, streams, watch)
        if ranks.rank == 0:
            ray.get(mailbox.report.remote(order.index, Done(metrics=metrics, policy=rank.policy, reward=rank.reward)))
        last = order.index


def _ref(data: TrainingData) -> StreamRef:
    parts = [
        PartRef(
            store=str(part.path.resolve()),
            version=part.version,
            selection=tuple(part.selection.tolist()),
            weights=part.weights,
        )
        for part in data.parts
    ]
    return StreamRef(parts=tuple(parts), shares=data.shares)


def _data(ref: StreamRef) -> TrainingData:
    snapshots = [Store.open(part.store).snapshot(part.version).select(part.selection) for part in ref.parts]
    parts = [replace(one, weights=part.weights) for one, part in zip(snapshots, ref.parts, strict=True)]
    return TrainingData(parts=tuple(parts), shares=ref.shares)


def _teller(mailbox: Any, number: int) -> Progress:
    """Return the progress of rank 0. It also notices, one report late so that nothing waits, that the run has closed."""
    replies: list[Any] = []

    def tell(what: str, done: int, total: int, /, **figures: float) -> None:
        if replies and not ray.get(replies.pop()):
            raise _Closed
        replies.append(mailbox.tell.remote(done, total, figures))

    return tell if number == 0 else silent

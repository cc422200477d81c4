"""The loop of one update on one rank: batches to steps, with validation, early stopping and checkpoints at fixed steps.

Nothing in it waits for a device or reads a scalar between two of those steps, except for a progress report twice a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from distil.learners.config import LearnerConfig
from distil.learners.ranks import Ranks
from distil.objectives.augment import Augmenter
from distil.objectives.base import Objective
from distil.seeding import integer
from distil.store.order import Cursor, SampleSource
from distil.types import Batch, Progress

_REPORT_EVERY_S = 0.5
_RECENT = 100  # steps that `train/loss` is the mean of
_VALIDATION_BATCH = 4096


@dataclass(kw_only=True)
class FitState:
    """Where an update stands, besides the objective's own state. Mutable; goes into each checkpoint."""

    step: int = 0
    validation_loss: float | None = None  # the last one
    best_loss: float | None = None
    num_worse: int = 0  # validations since the best
    best: Mapping[str, Tensor] | None = None  # the evaluated weights at the best validation
    recent: deque[Mapping[str, Tensor]] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint, by flat name."""
        out = {f"best.{name}": value for name, value in (self.best or {}).items()}
        names = self.recent[0] if self.recent else {}
        return out | {f"recent.{name}": torch.stack([figures[name].cpu() for figures in self.recent]) for name in names}

    def counters(self) -> dict[str, Any]:
        """Return the JSON part."""
        names = ("step", "validation_loss", "best_loss", "num_worse")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> FitState:
        """Return the state that `tensors` and `counters` were taken from."""
        best = {name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")}
        recent = {name.removeprefix("recent."): value for name, value in tensors.items() if name.startswith("recent.")}
        state = cls(**{**counters, "best": best or None})
        state.recent.extend({name: recent[name][i] for name in recent} for i in range(len(next(iter(recent.values()), ()))))
        return state


def to_torch(batch: Batch, device: torch.device) -> Batch:
    """Return a numpy batch, with all fields of its class, as tensors on `device`.

    Without a copy on the CPU, through pinned memory on a GPU.
    """

    def move(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping):
            return {name: move(item) for name, item in value.items()}
        tensor = torch.from_numpy(value)
        return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)

    return type(batch)(**{name: move(value) for name, value in batch.__dict__.items()})


@dataclass(kw_only=True)
class Fit:
    """One update. A pure function of (objective's state, data, seed, `state.step`), up to the time it takes."""

    objective: Objective
    config: LearnerConfig
    train: SampleSource
    validation: SampleSource | None
    num_steps: int
    seed: int  # of this update
    ranks: Ranks
    state: FitState
    save: Callable[[], None]
    progress: Progress
    augment: Augmenter
    data_wait_s: float = 0.0
    steps_here: int = 0  # taken by this process, not by one before a resume
    _reported: float = 0.0

    def run(self) -> dict[str, float]:
        """Take the steps that are left; return the update's metrics. The objective ends with the weights to keep."""
        start_s = time.perf_counter()
        stop = False
        with closing(self._batches()) as batches:
            while self.state.step < self.num_steps and not stop:
                if self.state.step % self.config.checkpoint_every == 0:
                    names = ("loss", self.ranks.rank, self.state.step)
                    self.objective.reseed(integer(self.seed, *names))
                    self.augment.reseed(integer(self.seed, "augment", self.state.step))  # the same on all ranks
                self._take(batches, self._next_stop() - self.state.step)
                if self.validation is not None and (self._due(self.config.validate_every) or self.state.step == self.num_steps):
                    stop = self._validate(self.validation)
                if not stop and self._due(self.config.checkpoint_every) and self.state.step < self.num_steps:
                    self.save()
        if self.config.patience is not None and self.state.best is not None:
            self.objective.restore_policy(self.state.best)
        return self._metrics(time.perf_counter() - start_s)

    def _batches(self) -> Generator[Batch, None, None]:
        size, num_samples = self.config.batch_size, self.train.num_samples
        return self.train.batches(
            batch_size=size,
            seed=integer(self.seed, "batches"),
            cursor=Cursor().advance(self.state.step * size, num_samples),
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
        )

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0

    def _next_stop(self) -> int:
        step = self.state.step
        periods = [self.config.checkpoint_every] + ([self.config.validate_every] if self.validation is not None else [])
        return min(self.num_steps, *((step // every + 1) * every for every in periods))

    def _take(self, batches: Iterator[Batch], num: int) -> None:
        step, device, recent, state = self.objective.step, self.ranks.device, self.state.recent, self.state
        clock = time.perf_counter
        for _ in range(num):
            before_s = clock()
            batch = to_torch(next(batches), device)
            after_s = clock()
            self.data_wait_s += after_s - before_s
            recent.append(step({"demos": self.augment(batch)}))
            state.step += 1
            if (
                after_s - self._reported > _REPORT_EVERY_S and state.step < self.num_steps
            ):  # the end is told once, by `_metrics`
                self._reported = after_s
                self.progress("update", state.step, self.num_steps, loss=float(recent[-1]["loss"]))
        self.steps_here += num

    def _validate(self, validation: SampleSource) -> bool:
        """Measure the held-out loss, the plain mean over windows, unweighted; return whether to stop early."""
        policy, state, total, count = self.objective.evaluation_policy(), self.state, 0.0, 0
        generator = torch.Generator(self.ranks.device).manual_seed(integer(self.seed, "validation"))
        with torch.inference_mode():
            for index, batch in enumerate(validation.scan(_VALIDATION_BATCH)):
                if index % self.ranks.world_size == self.ranks.rank:
                    loss_B = policy.loss(to_torch(batch, self.ranks.device), generator=generator)
                    total, count = total + float(loss_B.double().sum()), count + len(loss_B)
        total, count_all = self.ranks.total([total, count])
        state.validation_loss = total / count_all
        if state.best_loss is None or state.validation_loss < state.best_loss:
            state.best_loss, state.num_worse = state.validation_loss, 0
            state.best = policy.state_dict() if self.config.patience is not None else None
        else:
            state.num_worse += 1
        return self.config.patience is not None and state.num_worse >= self.config.patience

    def _metrics(self, update_s: float) -> dict[str, float]:
        state, size = self.state, self.config.batch_size
        figures = [self._mean_recent(name) for name in ("loss", "grad_norm")]
        out = {
            "train/loss": figures[0],
            "train/steps": float(state.step),
            "train/epochs": state.step * size / self.train.num_samples,
            "train/samples_per_s": self.steps_here * size / update_s,
            "time/update_s": update_s,
            "time/data_wait_s": self.data_wait_s,
        }
        if self.config.grad_clip is not None:
            out["train/grad_norm"] = figures[1]
        if state.validation_loss is not None and state.best_loss is not None:
            out["train/validation_loss"] = state.best_loss if self.config.patience else state.validation_loss
        self.progress("update", state.step if self.config.patience is None else self.num_steps, self.num_steps, loss=figures[0])
        return out

    def _mean_recent(self, name: str) -> float:
        values = [figures[name] for figures in self.state.recent if name in figures]
        mean = float(torch.stack([value.cpu() for value in values]).double().mean()) if values else 0.0
        return self.ranks.total([mean])[0] / self.ranks.world_size

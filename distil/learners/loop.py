"""The training loop of one update on one rank, with validation, early stopping and checkpoints at fixed steps.

Between those steps, nothing waits for a device or reads a scalar from it, except for a progress report twice a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from distil.learners.config import LearnerConfig
from distil.objectives.augment import Augmenter
from distil.objectives.base import Objective
from distil.objectives.ranks import Ranks
from distil.objectives.tensors import to_torch
from distil.seeding import integer
from distil.store.order import Cursor, SampleSource
from distil.types import Batch, Progress

_REPORT_EVERY_S = 0.5
_RECENT = 100  # steps that `train/loss` and other figures are means of
_VALIDATION_BATCH = 4096


@dataclass(kw_only=True)
class FitState:
    """Progress of an update, besides the objective's own state. Mutable; part of each checkpoint."""

    step: int = 0
    validation_loss: float | None = None  # the last one
    best_loss: float | None = None
    num_worse: int = 0  # validations since the best
    best: Mapping[str, Tensor] | None = None  # the evaluated weights at the best validation
    recent: dict[str, deque[Tensor]] = field(default_factory=dict)  # what the last steps returned, by name

    def record(self, figures: Mapping[str, Tensor]) -> None:
        """Count a step, and keep what it returned."""
        self.step += 1
        for name, value in figures.items():
            values = self.recent.get(name)
            if values is None:
                values = self.recent[name] = deque(maxlen=_RECENT)
            values.append(value)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint, by flat name."""
        out = {f"best.{name}": value for name, value in (self.best or {}).items()}
        return out | {f"recent.{name}": torch.stack([x.cpu() for x in values]) for name, values in self.recent.items()}

    def counters(self) -> dict[str, Any]:
        """Return the JSON part."""
        names = ("step", "validation_loss", "best_loss", "num_worse")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> FitState:
        """Return the state that `tensors` and `counters` were taken from."""
        best = {name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")}
        recent = {name.removeprefix("recent."): value for name, value in tensors.items() if name.startswith("recent.")}
        values = {name: deque(value, maxlen=_RECENT) for name, value in recent.items()}
        return cls(**{**counters, "best": best or None, "recent": values})


@dataclass(kw_only=True)
class Fit:
    """One update: a deterministic function of the objective's state, the data, the seed and `state.step`; timings aside."""

    objective: Objective
    config: LearnerConfig
    train: Mapping[str, SampleSource]  # by stream, the main one first
    validation: SampleSource | None
    num_steps: int
    seed: int  # of this update
    ranks: Ranks
    state: FitState
    save: Callable[[], None]
    progress: Progress
    augment: Augmenter
    watch_every: int | None = None  # steps from one call of `watch` to the next; the last step has one, too
    watch: Callable[[], None] = lambda: None
    data_wait_s: float = 0.0
    steps_here: int = 0  # steps of this process: those before a resume don't count
    _reported: float = 0.0

    def run(self) -> dict[str, float]:
        """Take the remaining steps; return the update's metrics. Afterwards the objective has the weights to keep."""
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        stop = False
        with ExitStack() as stack:
            batches = {name: stack.enter_context(closing(self._batches(name))) for name in self.train}
            while self.state.step < self.num_steps and not stop:
                if self.state.step % self.config.checkpoint_every == 0:
                    names = ("loss", self.ranks.rank, self.state.step)
                    self.objective.reseed(integer(self.seed, *names))
                    self.augment.reseed(integer(self.seed, "augment", self.state.step))  # the same on all ranks
                self._take(batches, self._next_stop() - self.state.step)
                if self.validation is not None and (self._due(self.config.validate_every) or self.state.step == self.num_steps):
                    stop = self._validate(self.validation)
                if self.watch_every and (stop or self._due(self.watch_every) or self.state.step == self.num_steps):
                    self.watch()  # before the checkpoint: what a kill loses is then shown again
                if not stop and self._due(self.config.checkpoint_every) and self.state.step < self.num_steps:
                    self.save()
        if self.config.patience is not None and self.state.best is not None:
            self.objective.restore_policy(self.state.best)
        return self._metrics(time.perf_counter() - start_s, time.process_time() - start_cpu_s)

    @property
    def _main(self) -> str:
        return next(iter(self.train))

    def _batches(self, name: str) -> Generator[Batch, None, None]:
        """Return the batches of a stream from the current step on. Each stream has its own order."""
        source, size = self.train[name], self.config.batch_size
        num_samples = source.num_samples
        return source.batches(
            batch_size=size,
            seed=integer(self.seed, "batches", *([] if name == self._main else [name])),
            cursor=Cursor().advance(self.state.step * size, num_samples),
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            num_batches=self.num_steps - self.state.step,
            convert=partial(to_torch, device=self.ranks.device),
        )

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0

    def _next_stop(self) -> int:
        step = self.state.step
        validate_every = self.config.validate_every if self.validation is not None else None
        periods = (self.config.checkpoint_every, validate_every, self.watch_every)
        return min(self.num_steps, *((step // every + 1) * every for every in periods if every))

    def _take(self, batches: Mapping[str, Iterator[Batch]], num: int) -> None:
        step, augment, state = self.objective.step, self.augment, self.state
        clock, streams = time.perf_counter, batches.items()
        for _ in range(num):
            before_s = clock()
            drawn = {name: next(source) for name, source in streams}
            after_s = clock()
            self.data_wait_s += after_s - before_s
            figures = step({name: augment(batch) for name, batch in drawn.items()})
            state.record(figures)
            # `_metrics` reports the end of the update.
            if after_s - self._reported > _REPORT_EVERY_S and state.step < self.num_steps:
                self._reported = after_s
                self.progress("update", state.step, self.num_steps, **_first(figures))
        self.steps_here += num

    def _validate(self, validation: SampleSource) -> bool:
        """Measure the held-out loss, an unweighted mean over windows; return whether to stop early."""
        policy, state, total, count = self.objective.evaluation_policy(), self.state, 0.0, 0
        generator = torch.Generator(self.ranks.device).manual_seed(integer(self.seed, "validation"))
        with torch.inference_mode():
            for index, batch in enumerate(validation.scan(_VALIDATION_BATCH)):
                if index % self.ranks.world_size == self.ranks.rank:
                    loss_B = self.objective.validate(policy, to_torch(batch, self.ranks.device), generator)
                    total, count = total + float(loss_B.double().sum()), count + len(loss_B)
        total, count_all = self.ranks.total([total, count])
        state.validation_loss = total / count_all
        if state.best_loss is None or state.validation_loss < state.best_loss:
            state.best_loss, state.num_worse = state.validation_loss, 0
            state.best = policy.state_dict() if self.config.patience is not None else None
        else:
            state.num_worse += 1
        return self.config.patience is not None and state.num_worse >= self.config.patience

    def _metrics(self, update_s: float, update_cpu_s: float) -> dict[str, float]:
        state, size = self.state, self.config.batch_size
        figures = {name: self._mean(values) for name, values in state.recent.items()}
        out = {f"train/{name}": value for name, value in figures.items()} | {
            "train/steps": float(state.step),
            "train/epochs": state.step * size / self.train[self._main].num_samples,
            "train/samples_per_s": self.steps_here * size / update_s,
            "time/update_s": update_s,
            "time/update_cpu_s": update_cpu_s,  # of this process, all threads
            "time/data_wait_s": self.data_wait_s,
        }
        if state.validation_loss is not None and state.best_loss is not None:
            out["train/validation_loss"] = state.best_loss if self.config.patience else state.validation_loss
        done = state.step if self.config.patience is None else self.num_steps
        self.progress("update", done, self.num_steps, **_first(figures))
        return out

    def _mean(self, values: deque[Tensor]) -> float:
        mean = float(torch.stack([value.cpu() for value in values]).double().mean())
        return self.ranks.total([mean])[0] / self.ranks.world_size


def _first(figures: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Return the first figure alone: the one that is shown as progress."""
    return {name: float(value) for name, value in islice(figures.items(), 1)}

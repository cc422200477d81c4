"""One rank of a learner: it owns an objective, carries out plans, writes and resumes checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from distil.errors import InputError, RunError
from distil.learners.base import LearnerSetup
from distil.learners.checkpoints import Checkpoint, Checkpoints
from distil.learners.data import Streams, TrainingData
from distil.learners.loop import Fit, FitState
from distil.learners.ranks import ALONE, Ranks
from distil.objectives.augment import Augmenter
from distil.objectives.base import ObjectiveState
from distil.objectives.supervised import Supervised
from distil.plans import DEMOS, Metrics, UpdatePlan
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.seeding import integer
from distil.store.order import SampleSource
from distil.store.reading import Reader
from distil.types import Note, Progress, silent, unheard

_IN_MEMORY = "in memory"
_MOST_NAMES = 8  # of dimensions, in a line


def choose_device(name: str) -> torch.device:
    """Return the device of `auto`, `cpu` or `cuda`; InputError if there is no GPU."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("learner.device: torch sees no GPU here; set learner.device=cpu, or install a CUDA build of torch")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


class Rank:
    """One rank. Of a group, rank 0 alone writes; the others read the same folder."""

    def __init__(self, setup: LearnerSetup, *, ranks: Ranks = ALONE, progress: Progress = silent, note: Note = unheard) -> None:
        """Build the policy from the seed, or take over the newest checkpoint if `setup.resume`."""
        torch.set_num_threads(setup.config.threads)
        self._setup, self._ranks = setup, ranks
        self._progress, self._note = progress, note
        self._noted: set[str] = set()
        self._objective = _build(setup, ranks)
        self._checkpoints = Checkpoints(setup.folder)
        self._reader = Reader(setup.config.read, note=self._note_once)
        self._version = 0
        self._fitted = False
        self._ref: PolicyRef | None = None
        if setup.resume:
            self._load(next((c for c in self._checkpoints.newest_first() if c.done), None))
        elif ranks.rank == 0:
            self._checkpoints.clear()

    @property
    def policy(self) -> PolicyRef:
        """The policy after the last finished update."""
        if self._ref is None or self._ref.version != self._version:
            self._ref = self._objective.evaluation_policy().ref(self._version)
        return self._ref

    def update(self, plan: UpdatePlan, streams: Streams) -> Metrics:
        """Carry out `plan` on `streams`, from the newest checkpoint of it if there is one.

        Raises:
            InputError: the data have nothing to train on; a checkpoint has other shapes.
            RunError: the disk is full; the ranks don't share the folder.
        """
        data = streams[DEMOS].weighted(plan.weights)
        names = ("round", "num_steps", "from_scratch")
        identity = {name: getattr(plan, name) for name in names} | {"data": data.digest}
        found = next((c for c in self._checkpoints.newest_first() if identity.items() <= c.state.items()), None)
        self._load(found)
        step = found.state["step"] if found else 0
        if self._ranks.of_first(step) != step:
            raise RunError(
                f"rank {self._ranks.rank} doesn't see rank 0's checkpoints in {self._setup.folder}: use a shared folder"
            )
        if found is not None and found.done:
            return dict(found.state["metrics"])
        if found is None and plan.from_scratch:
            self._objective, self._fitted = _build(self._setup, self._ranks), False
        return self._fit(plan, data, identity, found)

    def _fit(self, plan: UpdatePlan, data: TrainingData, identity: Mapping[str, Any], found: Checkpoint | None) -> Metrics:
        config, seed = self._setup.config, self._setup.seed
        self._decide_budget(found)
        train, validation = self._samplers(data)
        if config.validation_fraction and validation is None:
            self._note_once("nothing is held out for validation: that takes two labelled episodes")
        reading = self._reading()
        if found is not None and found.state["reading"] != reading:
            raise InputError(
                f"the update was begun with data {found.state['reading']}, here they are {reading}: batches would differ; "
                "set learner.read.memory_budget as it was, or leave it out"
            )
        identity = {**identity, "reading": reading, "budget_bytes": self._least_budget()}
        if found is None:
            self._fit_statistics(train)
        state = FitState.load(found.tensors, found.state["fit"]) if found else FitState()
        if found is None:
            self._objective.begin(plan.num_steps)
        fit = Fit(
            objective=self._objective,
            config=config,
            train=train,
            validation=validation,
            num_steps=plan.num_steps,
            seed=integer(seed, "update", plan.round),
            ranks=self._ranks,
            state=state,
            save=lambda: self._save(identity, state, None),
            progress=self._progress,
            augment=Augmenter(config.augment, self._objective.policy, rank=self._ranks.rank, world_size=self._ranks.world_size),
        )
        metrics = fit.run() | {"train/learning_rate": self._objective.learning_rate, "train/data_tier": float(train.tier)}
        self._version += 1
        self._save(identity, state, metrics)
        return metrics

    def _fit_statistics(self, train: SampleSource) -> None:
        """Fit the policy's statistics, once; later updates only widen the action scaling where labels have left it.

        Observation statistics stay: weights that were learned with them would be of another function otherwise.
        """
        policy = self._objective.policy
        if not self._fitted:
            constant = policy.fit(train.statistics(policy.needs))
            self._fitted = True
            if floats := [leaf.name for leaf in self._setup.spec.observation.leaves if leaf.looks_like_float_image]:
                self._note_once(
                    f"{', '.join(floats)}: images of floats are read as plain numbers, without convolutions; "
                    "give them as uint8 from 0 to 255 (distil store import: images=uint8)"
                )
            if constant:
                self._note_once(_constant(constant, self._setup.policy.std_floor))
        elif policy.actions.is_open and self._objective.widen_actions(train.statistics(["action"])["action"]):
            self._note("labels lie outside of the range of actions that the policy could reach: it was widened to hold them")

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _samplers(self, data: TrainingData) -> tuple[SampleSource, SampleSource | None]:
        policy, fraction = self._setup.policy, self._setup.config.validation_fraction
        seed = integer(self._setup.seed, "validation split")
        windows = {"obs_horizon": policy.obs_horizon, "chunk": policy.chunk}
        return data.sources(self._reader, validation_fraction=fraction, seed=seed, **windows)

    def _decide_budget(self, found: Checkpoint | None) -> None:
        """Let all ranks read within one budget, rank 0's, since the order of streamed samples depends on it.

        An update that is resumed reads as it did before, unless the configuration sets a budget.
        """
        budget = self._reader.budget_bytes
        if found is not None and self._setup.config.read.memory_budget is None and "budget_bytes" in found.state:
            kept = int(found.state["budget_bytes"])
            budget = max(kept, budget) if found.state["reading"] == _IN_MEMORY else kept
        self._reader.budget_bytes = self._ranks.of_first(budget)

    def _least_budget(self) -> int:
        """Return the smallest budget that leads to the same order of batches."""
        report = self._reader.report
        assert report is not None
        return report.num_bytes if report.tier == 1 else report.budget_bytes

    def _reading(self) -> str:
        """What the order of batches depends on, besides data and seed."""
        report = self._reader.report
        assert report is not None
        return _IN_MEMORY if report.tier == 1 else f"streamed with {report.budget_bytes} bytes"

    def close(self) -> None:
        """Give the data's memory back."""
        self._reader.close()

    def _save(self, identity: Mapping[str, Any], fit: FitState, metrics: Metrics | None) -> None:
        """Write a checkpoint: inside the update if `metrics` is None, otherwise of its end."""
        if self._ranks.rank != 0:
            return
        state = self._objective.state_dict()
        header = {
            **identity,
            "step": fit.step,
            "done": metrics is not None,
            "metrics": metrics,
            "version": self._version,
            "fit": fit.counters(),
            "objective": dict(state.counters),
        }
        tensors = dict(state.tensors) | (fit.tensors() if metrics is None else {})
        self._checkpoints.save(Checkpoint(tensors=tensors, state=header))

    def _load(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        try:
            self._objective.load_state_dict(
                ObjectiveState(tensors=checkpoint.tensors, counters=checkpoint.state["objective"]),
            )
        except ValueError as error:
            raise InputError(
                f"{self._setup.folder}: the checkpoint is of another policy: {error}; resume with its configuration"
            ) from None
        self._version, self._fitted = int(checkpoint.state["version"]), True


def _constant(names: Sequence[str], std_floor: float) -> str:
    shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return (
        f"{len(names)} observation dimensions vary by less than policy.std_floor={std_floor:g} in the training data, and count "
        f"as constant: {shown}; lower it if they matter"
    )


def _build(setup: LearnerSetup, ranks: Ranks) -> Supervised:
    seed = integer(setup.seed, "learner", "weights")
    policy = Policy(setup.policy, setup.spec.observation, setup.spec.action, seed=seed)
    return Supervised(policy.to(ranks.device), setup.config, world_size=ranks.world_size)

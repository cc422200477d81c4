"""One rank of a learner: it owns an objective, carries out update plans, saves and resumes checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from distil.errors import InputError, RunError
from distil.learners.base import LearnerSetup, Watch, unwatched
from distil.learners.checkpoints import Checkpoint, Checkpoints
from distil.learners.data import Sources, Streams, TrainingData, digest_of, open_sources
from distil.learners.loop import Fit, FitState
from distil.nn.imported import naming_class
from distil.objectives.augment import Augmenter
from distil.objectives.base import Objective, ObjectiveState, Rewarding
from distil.objectives.ranks import ALONE, Ranks
from distil.plans import Metrics, UpdatePlan
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.rewards.ref import RewardRef
from distil.seeding import integer
from distil.store.reading import Reader
from distil.types import Note, Progress, silent, unheard

_IN_MEMORY = "in memory"


def choose_device(name: str) -> torch.device:
    """Return the device of `auto`, `cpu` or `cuda`; InputError if there is no GPU."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("learner.device: torch sees no GPU here; set learner.device=cpu, or install a CUDA build of torch")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


class Rank:
    """One rank. Only rank 0 of a group writes checkpoints; the others read the same folder."""

    def __init__(self, setup: LearnerSetup, *, ranks: Ranks = ALONE, progress: Progress = silent, note: Note = unheard) -> None:
        """Build the policy from the seed, or load the newest checkpoint if `setup.resume`."""
        torch.set_num_threads(setup.config.threads)
        self._setup, self._ranks = setup, ranks
        self._progress, self._note = progress, note
        self._noted: set[str] = set()
        self._objective = _build(setup, ranks)
        self._checkpoints = Checkpoints(setup.folder, setup.check)
        self._reader = Reader(setup.config.read, note=self._note_once)
        self._version = 0
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

    @property
    def reward(self) -> RewardRef | None:
        """The reward that the last finished update learned; None: the objective learns none."""
        objective = self._objective
        found = objective.evaluation_reward() if isinstance(objective, Rewarding) else None
        return None if found is None else found.ref(self._version)

    def update(self, plan: UpdatePlan, streams: Streams, watch: Watch = unwatched) -> Metrics:
        """Carry out `plan` on `streams`, from its newest checkpoint if there is one.

        Raises:
            InputError: there is nothing to train on; a checkpoint has other shapes.
            RunError: the disk is full; the ranks don't share the folder; the user's objective failed.
        """
        streams = {name: _weighted(name, data, plan) for name, data in streams.items()}
        names = ("round", "num_steps", "from_scratch")
        identity = {name: getattr(plan, name) for name in names} | {"data": digest_of(streams)}
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
            self._objective = _build(self._setup, self._ranks)
        with self._setup.objective.naming_faults(), naming_class(self._setup.policy.targets):
            return self._fit(plan, streams, identity, found, watch)

    def _fit(
        self, plan: UpdatePlan, streams: Streams, identity: Mapping[str, Any], found: Checkpoint | None, watch: Watch
    ) -> Metrics:
        objective, config = self._objective, self._setup.config
        self._decide_budget(found)
        sources = self._sources(streams, plan)
        identity = {**identity, "reading": self._reading(found), "budget_bytes": self._least_budget()}
        if found is None:
            for note in objective.fit_statistics(sources.training):
                self._note_once(note)
            objective.begin(plan.num_steps)
        prepared = objective.prepare(sources.training) if plan.num_steps else sources.training
        state = FitState.load(found.tensors, found.state["fit"]) if found else FitState()
        fit = Fit(
            objective=objective,
            config=config,
            train={name: prepared[name] for name in sources.training},  # the main stream first
            validation=sources.held_out,
            num_steps=plan.num_steps,
            seed=integer(self._setup.seed, "update", plan.round),
            ranks=self._ranks,
            state=state,
            save=lambda: self._save(identity, state, None),
            progress=self._progress,
            augment=self._augmenter(),
            watch_every=plan.watch.every if plan.watch is not None else None,
            watch=lambda: watch(state.step, objective.evaluation_policy().ref(self._version)),
        )
        metrics = fit.run() | {f"train/{name}": value for name, value in objective.figures().items()}
        metrics["train/data_tier"] = float(sources.tier)
        self._save(identity, state, metrics)
        return metrics

    def _require_finite(self, state: ObjectiveState, fit: FitState) -> None:
        """Raise RunError if training diverged, before a checkpoint has it: NaN weights may act without any further error.

        An imported objective may keep what it likes in its state: of that, only the policy's weights count.
        """
        tensors: Mapping[str, torch.Tensor] = state.tensors
        if self._setup.objective.kind == "import":
            tensors = dict(self._objective.evaluation_policy().named_parameters())
        for name, values in tensors.items():
            if values.is_floating_point() and not bool(values.isfinite().all()):
                last = ", ".join(f"{figure} {float(recent[-1]):.4g}" for figure, recent in fit.recent.items() if recent)
                raise RunError(
                    f"training diverged: after {fit.step} steps {name} is not finite ({last}); the checkpoint before it is "
                    "kept: lower learner.learning_rate, or fix the data or the loss"
                )

    def _augmenter(self) -> Augmenter:
        policy, ranks = self._objective.policy, self._ranks
        return Augmenter(
            [config.build(policy) for config in self._setup.config.augment],
            ranks.device,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _sources(self, streams: Streams, plan: UpdatePlan) -> Sources:
        needs = self._objective.needs
        if not plan.num_steps:  # what the plan leaves out isn't there yet
            needs = {name: windows for name, windows in needs.items() if name in streams}
        fraction, seed = self._setup.config.validation_fraction, integer(self._setup.seed, "validation split")
        sources = open_sources(streams, needs, self._reader, validation_fraction=fraction, seed=seed)
        if fraction and sources.held_out is None:
            self._note_once("nothing is held out for validation: that takes two labelled episodes")
        return sources

    def _decide_budget(self, found: Checkpoint | None) -> None:
        """Set the memory budget of all ranks to that of rank 0: the order of streamed samples depends on it.

        A resumed update keeps its budget, unless the configuration sets one.
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

    def _reading(self, found: Checkpoint | None) -> str:
        """Return what the order of batches depends on, besides data and seed; InputError if `found` had another one."""
        report = self._reader.report
        assert report is not None
        reading = _IN_MEMORY if report.tier == 1 else f"streamed with {report.budget_bytes} bytes"
        if found is not None and found.state["reading"] != reading:
            raise InputError(
                f"the update was begun with data {found.state['reading']}, here they are {reading}: batches would differ; "
                "set learner.read.memory_budget as it was, or leave it out"
            )
        return reading

    def close(self) -> None:
        """Free the memory of the data."""
        self._reader.close()

    def _save(self, identity: Mapping[str, Any], fit: FitState, metrics: Metrics | None) -> None:
        """Save a checkpoint: inside the update if `metrics` is None, otherwise at its end, with the next version."""
        state = self._objective.state_dict()
        if fit.step:  # before the first one, networks may lack statistics
            self._require_finite(state, fit)
        self._version += metrics is not None
        self._setup.check()  # on all ranks: one that ended alone would leave the others waiting for it
        if self._ranks.rank != 0:
            return
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
        state = ObjectiveState(tensors=checkpoint.tensors, counters=checkpoint.state["objective"])
        with self._setup.objective.naming_faults():
            try:
                self._objective.load_state_dict(state)
            except ValueError as error:
                raise InputError(
                    f"{self._setup.folder}: the checkpoint is of another policy: {error}; resume with its configuration"
                ) from None
        self._version = int(checkpoint.state["version"])


def _weighted(name: str, data: TrainingData, plan: UpdatePlan) -> TrainingData:
    """Return a stream's data; demonstrations have the plan's weights."""
    return data.weighted(plan.weights) if plan.streams[name].source == "demos" else data


def _build(setup: LearnerSetup, ranks: Ranks) -> Objective:
    seed = integer(setup.seed, "learner", "weights")
    policy = Policy(setup.policy, setup.spec.observation, setup.spec.action, seed=seed)
    return setup.objective.build(policy.to(ranks.device), setup.config, ranks, seed=integer(setup.seed, "learner", "objective"))

"""One cell: a contestant learns a task with one seed, is timed and scored.

Budgets are tried from the smallest one until one reaches the goal. Where the learning rate is constant, one run saves a policy
at each budget: a shorter run would have been its beginning. Where it falls to 0 at the end of a run (in distil's recipes, also
when imitation follows them), each budget is a run of its own, from the start of the process on.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from peers_clock import Mark, run_clocked
from peers_material import Material, spaces_of
from peers_plan import CONTESTANTS, GOAL, LIMIT_S
from peers_score import Policy, own, returns, served

from distil.algorithms.dagger import DaggerConfig
from distil.api import open_run
from distil.runconfig import RunConfig, load_config

_PROGRAMS = Path(__file__).resolve().parent / "peer_programs"
_ENV = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
Point = dict[str, Any]
Option = Callable[[], tuple[Point, Policy]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is measured."""

    material: Material
    contestant: str
    seed: int
    folder: Path  # of its own; emptied
    python: str  # the interpreter of the library
    references: dict[str, float]  # mean returns of expert and random policy
    tracked: Mapping[str, Any] | None = None  # distil's own cell, if this one is distil without tracking

    def measure(self) -> dict[str, Any]:
        """Return costs and scores: of the tried budgets, of the one that reached the goal, and at the end.

        Raises:
            ProgramError: the contestant's program failed.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        *options, last = self._ours() if CONTESTANTS[self.contestant].package == "distil" else self._theirs()
        curve = list[Point]()
        for option in options:
            curve.append(self._scored(option))
            if curve[-1]["score"] >= GOAL:
                break
        curve.append(self._scored(last))
        shutil.rmtree(self.folder)
        return {"curve": curve, "reached": next((point for point in curve if point["score"] >= GOAL), None), "end": curve[-1]}

    def _scored(self, option: Option) -> Point:
        material, references = self.material, self.references
        point, policy = option()
        for known in self.tracked["curve"] if self.tracked else ():
            if known["policy"] == point["policy"]:
                return {**point, "return": known["return"], "score": known["score"]}
        found = returns(material.task.env_id, material.seeds, policy)
        mean = sum(found) / len(found)
        score = (mean - references["random"]) / (references["expert"] - references["random"])
        return {**point, "return": mean, "score": score}

    def _ours(self) -> list[Option]:
        """Return the budgets below the recipe's own, then the recipe as it is shipped; DAgger ends with the task's labels.

        Without tracking: the budget that reached the goal with it, and the last one.
        """
        if self.tracked:
            chosen = [point["budget"] for point in (self.tracked["reached"], self.tracked["end"]) if point]
            return [partial(self._distil, budget) for budget in (chosen if chosen[0] != chosen[-1] else chosen[:1])]
        if self.material.task.algorithm == "dagger":
            return [partial(self._distil, {"algorithm.stop.expert_labels": num}) for num in self.material.task.budgets]
        *smaller, _ = self._steps()
        return [*(partial(self._distil, {"learner.num_steps": num}) for num in smaller), partial(self._distil, {})]

    @property
    def _recipe(self) -> RunConfig:
        return load_config(self.material.name, self.material.overrides(self.seed))

    def _steps(self) -> list[int]:
        """Return the budgets below the recipe's own number of gradient steps, and that."""
        learner = self._recipe.learner
        steps = [samples // learner.batch_size for samples in self.material.task.budgets]
        return [*(num for num in steps if num < learner.num_steps), learner.num_steps]

    def _distil(self, budget: dict[str, int]) -> tuple[Point, Policy]:
        """Run `distil train` as a user does, in an empty folder, without scores that decide nothing."""
        folder = self.folder / ("-".join(map(str, budget.values())) or "shipped")
        folder.mkdir()
        overrides = {
            **self.material.overrides(self.seed),
            **budget,
            **CONTESTANTS[self.contestant].settings,
            "evaluation.episodes": 0,
        }
        if self.material.task.algorithm == "bc":
            overrides["data.path"] = str(self.material.store(self.seed))
        else:
            overrides["algorithm.tuning_episodes"] = 0
        command = [sys.executable, "-m", "distil", "train", self.material.name]
        command += [f"{key}={value}" for key, value in overrides.items()]
        clocked = run_clocked(command, cwd=folder, log=folder / "log", limit_s=LIMIT_S, env=_ENV)
        run = open_run(folder / "runs" / f"{self.material.name}-001")
        metrics = [report.metrics for report in run.reports]
        samples = sum(report.get("train/steps", 0) for report in metrics) * run.config.learner.batch_size
        point = {
            "whole_s": clocked.whole_s,
            "train_s": sum(report.get("time/update_cpu_s", 0.0) for report in metrics),
            "wall_s": clocked.wall_s,
            "samples": int(samples),
            "labels": run.reports[-1].spent.expert_labels,
            "budget": budget,
            "policy": _digest(run.path / "policy"),
        }
        return point, partial(own, run.path)

    def _theirs(self) -> list[Option]:
        task = self.material.task
        if task.algorithm == "bc" and "recipe" in CONTESTANTS[self.contestant].settings:
            budgets = [num * self._recipe.learner.batch_size for num in self._steps()]
            return [partial(self._alone, budget) for budget in budgets]
        return self._run(task.budgets)

    def _alone(self, budget: int) -> tuple[Point, Policy]:
        (option,) = self._run([budget])
        return option()

    def _settings(self) -> dict[str, Any]:
        """Return the contestant's settings, and those that it takes from distil's recipe."""
        settings, config = dict(CONTESTANTS[self.contestant].settings), self._recipe
        if "recipe" in settings:
            settings |= {"lr": config.learner.learning_rate, "num_batches": config.learner.num_steps}
            settings["activation"] = config.policy.encoder.activation
            if isinstance(config.algorithm, DaggerConfig):
                settings["round_min_episodes"] = config.algorithm.episodes_per_round
        return settings

    def _run(self, budgets: Sequence[int]) -> list[Option]:
        """Train once; return the last policy within each budget."""
        material, task = self.material, self.material.task
        entry, settings = CONTESTANTS[self.contestant], self._settings()
        spec = {
            "algorithm": task.algorithm,
            "env_id": task.env_id,
            **spaces_of(task),
            "demonstrations": str(material.demonstrations(self.seed, entry.package)) if task.algorithm == "bc" else None,
            "expert": str(material.expert()) if task.algorithm == "dagger" else None,
            "budgets": budgets,
            "cap_s": math.inf if "recipe" in settings else task.cap_s,
            "out": str(self.folder),
            "seed": self.seed,
            "settings": settings,
        }
        file, program = self.folder / "spec.json", _PROGRAMS / f"with_{entry.package}.py"
        file.write_text(json.dumps(spec))
        command = [self.python, str(program), "train", str(file)]
        clocked = run_clocked(command, cwd=self.folder, log=self.folder / "log", limit_s=LIMIT_S, env=_ENV)
        chosen = dict[str, Mark]()
        for budget in budgets:
            within = [mark for mark in clocked.marks if mark.facts[task.unit] <= budget]
            if within:
                chosen[within[-1].facts["path"]] = within[-1]
        return [partial(self._other, program, file, mark) for mark in chosen.values()]

    def _other(self, program: Path, file: Path, mark: Mark) -> tuple[Point, Policy]:
        point = {"whole_s": mark.whole_s, "train_s": mark.train_s}
        point |= {unit: mark.facts[unit] for unit in ("samples", "labels") if unit in mark.facts}
        return point, partial(served, self.python, program, file, mark.facts["path"], self.folder / "act.log")


def _digest(folder: Path) -> str:
    """Return the SHA-256 of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

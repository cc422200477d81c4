"""One cell: a contestant learns a task with one seed, is timed and scored.

Budgets are tried from the smallest one until one reaches the goal. Other libraries save a policy at each budget of one run,
since their learning rate is constant: a shorter run would have been its beginning. distil's rate falls to 0 at the end of a
run, so each of its budgets is a run of its own, from the start of the process on.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from peers_clock import Mark, run_clocked
from peers_material import Material, spaces_of
from peers_plan import CONTESTANTS, GOAL, LIMIT_S
from peers_score import Act, returns, served

import distil
from distil.algorithms.dagger import DaggerConfig
from distil.api import open_run
from distil.runconfig import load_config

_PROGRAMS = Path(__file__).resolve().parent / "peer_programs"
_ENV = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
Point = dict[str, Any]
Option = Callable[[], AbstractContextManager[tuple[Point, Act]]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is measured."""

    material: Material
    contestant: str
    seed: int
    folder: Path  # of its own; emptied
    python: str  # the interpreter of the library
    references: dict[str, float]  # mean returns of expert and random policy

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
        with option() as (point, act):
            found = returns(material.task.env_id, material.seeds, act)
        mean = sum(found) / len(found)
        score = (mean - references["random"]) / (references["expert"] - references["random"])
        return {**point, "return": mean, "score": score}

    def _ours(self) -> list[Option]:
        """Return the budgets below the recipe's own, then the recipe as it is shipped; DAgger ends with the task's labels."""
        task = self.material.task
        config = load_config(self.material.name, self.material.overrides(self.seed))
        if isinstance(config.algorithm, DaggerConfig):
            return [partial(self._distil, {"algorithm.stop.expert_labels": budget}) for budget in task.budgets]
        steps = [budget // config.learner.batch_size for budget in task.budgets]
        smaller = [num for num in steps if num < config.learner.num_steps]
        return [*(partial(self._distil, {"learner.num_steps": num}) for num in smaller), partial(self._distil, {})]

    @contextmanager
    def _distil(self, budget: dict[str, int]) -> Iterator[tuple[Point, Act]]:
        """Run `distil train` as a user does, in an empty folder, without scores that decide nothing."""
        folder = self.folder / ("-".join(map(str, budget.values())) or "shipped")
        folder.mkdir()
        overrides = {**self.material.overrides(self.seed), **budget, "evaluation.episodes": 0}
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
        }
        yield point, distil.load_policy(run.path).predict

    def _theirs(self) -> list[Option]:
        """Train once; return the last policy within each budget."""
        material, task = self.material, self.material.task
        entry = CONTESTANTS[self.contestant]
        spec = {
            "algorithm": task.algorithm,
            "env_id": task.env_id,
            **spaces_of(task),
            "demonstrations": str(material.demonstrations(self.seed, entry.package)) if task.algorithm == "bc" else None,
            "expert": str(material.expert()) if task.algorithm == "dagger" else None,
            "budgets": task.budgets,
            "cap_s": task.cap_s,
            "out": str(self.folder),
            "seed": self.seed,
            "settings": {**entry.settings, **({"epochs": task.epochs} if "beta" in entry.settings else {})},
        }
        file, program = self.folder / "spec.json", _PROGRAMS / f"with_{entry.package}.py"
        file.write_text(json.dumps(spec))
        command = [self.python, str(program), "train", str(file)]
        clocked = run_clocked(command, cwd=self.folder, log=self.folder / "log", limit_s=LIMIT_S, env=_ENV)
        chosen = dict[str, Mark]()
        for budget in task.budgets:
            within = [mark for mark in clocked.marks if mark.facts[task.unit] <= budget]
            if within:
                chosen[within[-1].facts["path"]] = within[-1]
        return [partial(self._other, program, file, mark) for mark in chosen.values()]

    @contextmanager
    def _other(self, program: Path, file: Path, mark: Mark) -> Iterator[tuple[Point, Act]]:
        point = {"whole_s": mark.whole_s, "train_s": mark.train_s}
        point |= {unit: mark.facts[unit] for unit in ("samples", "labels") if unit in mark.facts}
        with served(self.python, program, file, mark.facts["path"], self.folder / "act.log") as act:
            yield point, act

"""Runs' folders and records with given scores, for tests of comparisons: nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from distil.compare.record import Point, RunRecord
from distil.rundir import RunDir

EXPERT, RANDOM = 500.0, 20.0


def config(name: str = "cartpole-bc", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a configuration; `algorithm__kind="dagger"` sets a key of a group."""
    out: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "env": {"kind": "gym", "id": "CartPole-v1", "kwargs": {}},
        "expert": {"kind": "scripted"},
        "data": {"path": "data/cartpole", "episodes": 20},
        "algorithm": {"kind": "bc"},
        "policy": {},
        "learner": {"num_steps": 1000, "learning_rate": 0.001},
        "evaluation": {"episodes": 50},
        "rollouts": {"num_workers": 0},
        "tracking": {"enabled": False},
        "runs": "runs",
    }
    for key, value in changes.items():
        *groups, last = key.split("__")
        place = out
        for group in groups:
            place = place[group]
        place[last] = value
    return out


def metrics(score: float, prefix: str = "eval", **budget: float) -> dict[str, float]:
    """Return the metrics of a report with a score."""
    found = {
        f"{prefix}/return_mean": score,
        f"{prefix}/return_ci_low": score - 5,
        f"{prefix}/return_ci_high": score + 5,
        f"{prefix}/normalised": (score - RANDOM) / (EXPERT - RANDOM),
        f"{prefix}/random_return_mean": RANDOM,
        f"{prefix}/expert_return_mean": EXPERT,
    }
    spent = {"demonstrations": 20, "expert_labels": 4000, "env_steps": 4000, "gradient_steps": 1000, "wall_s": 10.0} | budget
    return found | {f"budget/{name}": value for name, value in spent.items()}


def write_run(
    folder: Path,
    settings: Mapping[str, Any],
    reports: Sequence[Mapping[str, float]],
    *,
    finished: bool = True,
    run_id: str = "",
    snapshot: int = 3,
) -> Path:
    """Write a run's folder with a report for each of the given metrics; return it."""
    run = RunDir(folder)
    folder.mkdir(parents=True)
    run.config.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    versions = {"packages": {"distil": "0.1.0"}, "git": {"commit": "0123456789abcdef", "changed_files": ["a.py"]}}
    (folder / "versions.json").write_text(json.dumps(versions))
    if run_id:
        run.append("tracked", round=0, run_id=run_id)
    for index, found in enumerate(reports):
        run.append(
            "reported", round=index, report={"index": index, "snapshot": snapshot, "policy_version": 1, "metrics": dict(found)}
        )
    if finished:
        run.finish(reports[-1] if reports else {})
    return folder


def record(name: str, seed: int, score: float | None, *, tuned: Sequence[float] = (), **changes: Any) -> RunRecord:
    """Return a record; `tuned` are scores on the tuning episodes, at equal distances of labels and steps before the end."""
    labels = changes.pop("labels", 4000.0)
    role = changes.pop("role", "run")
    points = [_point(value, False, labels * (i + 1) / (len(tuned) + 1)) for i, value in enumerate(tuned)]
    if score is not None:
        points.append(_point(score, True, labels))
    return RunRecord(name=f"{name}-{seed}", config=config(name, seed, **changes), points=points, role=role)


def _point(score: float, held_out: bool, labels: float) -> Point:
    budget = {
        "demonstrations": 20.0,
        "expert_labels": labels,
        "env_steps": labels,
        "gradient_steps": 1000.0,
        "wall_s": labels / 400,
    }
    normalised = (score - RANDOM) / (EXPERT - RANDOM)
    return Point(
        held_out=held_out,
        score=score,
        low=score - 5,
        high=score + 5,
        normalised=normalised,
        random=RANDOM,
        expert=EXPERT,
        budget=budget,
    )

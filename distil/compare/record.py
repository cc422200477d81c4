"""RunRecord: what a comparison knows of one run, wherever it was read from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distil.store.schema import environment
from distil.tracking import flatten

State = Literal["finished", "stopped", "running", "failed", "unfinished", "unreadable"]  # stopped: by a sweep, on purpose
Role = Literal["run", "trial", "confirmation"]

BUDGETS: Mapping[str, str] = {  # key of `budget/*` -> how tables call it
    "demonstrations": "demos",
    "expert_labels": "labels",
    "env_steps": "env steps",
    "gradient_steps": "grad steps",
    "wall_s": "seconds",
    "cpu_s": "CPU s",
}
COUNTED: Mapping[str, str] = {  # those that do not depend on the machine, in words
    "demonstrations": "demonstrations",
    "expert_labels": "labels",
    "env_steps": "environment steps",
    "gradient_steps": "gradient steps",
}
_NAMES = {
    "bc": "BC",
    "dagger": "DAgger",
    "csil": "CSIL",
    "iq": "IQ-Learn",
    "mce_irl": "MCE-IRL",
    "ml_irl": "ML-IRL",
    "rl": "RL",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A score that a run measured, and what it had spent by then."""

    held_out: bool  # on the held-out episodes, `eval/*`; otherwise on the tuning episodes, `tune/*`
    score: float  # mean return
    low: float | None = None  # 95 % interval over the episodes
    high: float | None = None
    normalised: float | None = None  # 0: random policy, 1: expert, on the same episodes
    random: float | None = None  # mean return of the random policy
    expert: float | None = None
    budget: Mapping[str, float] = field(default_factory=dict)  # keys of `BUDGETS`


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run. Everything is plain data, so that a record does not depend on the version of distil that wrote it."""

    name: str
    path: Path | None = None  # its folder; None: only MLflow has it
    config: Mapping[str, Any] = field(default_factory=dict)  # nested, as in config.yaml
    state: State = "finished"
    reason: str = ""  # why it is not finished, or how far it came
    role: Role = "run"
    trial: str = ""  # of a sweep: whose configuration the run has
    points: Sequence[Point] = ()  # in their order
    commit: str = ""  # of the code in the folder where it was started
    version: str = ""  # of distil
    store: str = ""  # the demonstrations: name, version and digest
    mlflow_id: str = ""

    @property
    def seed(self) -> int:
        """The root seed."""
        return int(self.config.get("seed") or 0)

    @property
    def algorithm(self) -> str:
        """The algorithm's name as papers write it."""
        kind = str((self.config.get("algorithm") or {}).get("kind") or "unknown")
        return _NAMES.get(kind, kind.upper())

    @property
    def environment(self) -> str:
        """The environment, with its arguments; empty if there is none."""
        env = self.config.get("env") or {}
        limit = env.get("max_episode_steps")
        name = environment(env)
        return f"{name} cut at {limit} steps" if name and limit else name

    @property
    def command(self) -> str:
        """The command that repeats the run; empty if only MLflow has it."""
        return "" if self.path is None else f"distil train {self.path / 'config.yaml'}"

    @property
    def final(self) -> Point | None:
        """The last score on the held-out episodes."""
        return next((point for point in reversed(self.points) if point.held_out), None)

    @property
    def tuned(self) -> Point | None:
        """The last score on the tuning episodes."""
        return next((point for point in reversed(self.points) if not point.held_out), None)


def points_of(metrics: Mapping[str, float]) -> list[Point]:
    """Return the scores in the metrics of one report: of the tuning episodes, then of the held-out ones."""
    budget = {name: metrics[f"budget/{name}"] for name in BUDGETS if f"budget/{name}" in metrics}
    out = []
    for prefix in ("tune", "eval"):
        score = metrics.get(f"{prefix}/return_mean")
        if score is None or not math.isfinite(score):  # of a diverged policy: no number to compare
            continue
        names = {
            "low": "return_ci_low",
            "high": "return_ci_high",
            "normalised": "normalised",
            "random": "random_return_mean",
            "expert": "expert_return_mean",
        }
        facts = {name: metrics.get(f"{prefix}/{key}") for name, key in names.items()}
        out.append(Point(held_out=prefix == "eval", score=score, budget=budget, **facts))
    return out


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """Return dotted key -> text of a configuration, without nulls and empty groups."""
    return {key: text for key, text in flatten(config).items() if text not in ("null", "[]")}


def nested(params: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration that MLflow's parameters (dotted key -> text) describe."""
    out: dict[str, Any] = {}
    for name, text in params.items():
        *groups, last = name.split(".")
        place = out
        for group in groups:
            if not isinstance(place.get(group), dict):
                place[group] = {}
            place = place[group]
        place[last] = _value(text)
    return out


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

"""A run that is scored while an update learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil import run as loop
from distil.config import to_yaml, validate
from distil.plans import Metrics, Spent
from distil.policies.checkpoint import load_policy_ref
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.seeding import Purpose
from distil.session import Session
from distil.tracking import NullTracker


def config(folder: Path, **algorithm: Any) -> RunConfig:
    return validate(
        RunConfig,
        {
            "env": {"id": "CartPole-v1", "max_episode_steps": 40},
            "expert": {"kind": "scripted"},
            "data": {"path": str(folder / "demos"), "episodes": 3},
            "rollouts": {"num_workers": 0, "num_envs": 4},
            "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
            "algorithm": {"kind": "bc", **algorithm},
            "learner": {"num_steps": 10, "batch_size": 16},
            "evaluation": {"episodes": 3},
            "tracking": {"enabled": False},
            "runs": str(folder / "runs"),
        },
    )


def start(settings: RunConfig) -> RunDir:
    return RunDir.create(Path(settings.runs), settings.name, to_yaml(settings))


def train(settings: RunConfig) -> RunDir:
    rundir = start(settings)
    with Session(settings) as session:
        loop.train(settings, rundir, session)
    return rundir


def weights(rundir: RunDir) -> dict[str, np.ndarray]:
    return dict(load_policy_ref(rundir.policy).arrays)


def test_scores_while_an_update_learns_are_kept_and_never_measured_twice(tmp_path: Path, monkeypatch: Any) -> None:
    """On tuning episodes, counted apart, and the run learns what it would have learned without."""
    plain, settings = train(config(tmp_path / "plain")), config(tmp_path / "tuned", tuning_episodes=2, tune_every=4)
    rundir, heard, measured = start(settings), list[tuple[int, float]](), list[Purpose]()
    evaluate = Session.evaluate

    def hear(spent: Spent, metrics: Metrics) -> None:
        heard.append((spent.gradient_steps, metrics["tune/return_mean"]))

    def noted(self: Session, who: Any, *args: Any, **keys: Any) -> Any:
        if who == "policy":
            measured.append(args[2])
            if len(measured) == 3:
                raise KeyboardInterrupt
        return evaluate(self, who, *args, **keys)

    def go() -> None:
        with Session(settings) as session, rundir.lock():
            list(loop.rounds(settings, rundir, session, NullTracker(), hear))

    monkeypatch.setattr(Session, "evaluate", noted)
    with pytest.raises(KeyboardInterrupt):
        go()
    assert [step for step, _ in heard] == [4, 8]
    go()
    assert [step for step, _ in heard] == [4, 8, 4, 8, 10]
    assert heard[:2] == heard[2:4]
    assert measured == [Purpose.TUNE] * 4 + [Purpose.EVALUATE]
    (report,) = rundir.reports()
    assert report.metrics["tune/return_mean"] == heard[-1][1]
    lengths = sum(line["num_steps"] for line in rundir.journal("watched")) + 3 * report.metrics["eval/episode_length"]
    assert report.spent.evaluation_steps == round(lengths)
    same = weights(plain)
    assert all(np.array_equal(value, same[name]) for name, value in weights(rundir).items())

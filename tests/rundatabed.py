"""Runs on CartPole, on one store or on a mixture of two, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distil import run as loop
from distil.config import to_yaml, validate
from distil.plans import CollectPlan
from distil.policies.checkpoint import load_policy_ref
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.session import Session


def config(folder: Path, **keys: Any) -> RunConfig:
    base = {
        "env": {"id": "CartPole-v1", "max_episode_steps": 40},
        "expert": {"kind": "scripted"},
        "data": {"mixture": {"parts": [{"path": str(folder / "a"), "weight": 2}, {"path": str(folder / "b")}]}},
        "rollouts": {"num_workers": 0, "num_envs": 4},
        "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
        "learner": {"num_steps": 10, "batch_size": 16, "validation_fraction": 0.3, "validate_every": 5},
        "evaluation": {"episodes": 2, "baselines": False},
        "tracking": {"enabled": False},
        "runs": str(folder / "runs"),
    }
    return validate(RunConfig, base | keys)


def fill(folder: Path, name: str, episodes: int, seed: int = 0, **keys: Any) -> None:
    own = config(folder, data={"path": str(folder / name), "episodes": episodes}, seed=seed, **keys)
    with Session(own) as session:
        session.collector(own, session.store(own)).collect(CollectPlan(num_episodes=episodes))


def train(settings: RunConfig, rundir: RunDir | None = None) -> RunDir:
    rundir = rundir or RunDir.create(Path(settings.runs), settings.name, to_yaml(settings))
    with Session(settings) as session:
        loop.train(settings, rundir, session)
    return rundir


def weights(rundir: RunDir) -> dict[str, np.ndarray]:
    return dict(load_policy_ref(rundir.policy).arrays)


def own(folder: Path, **keys: Any) -> RunConfig:
    return config(folder, **{**keys, "data": {"path": str(folder / "own"), **keys.get("data", {})}})


class Listening:
    """A progress that keeps the lines that it is to show."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)


def untrained(session: Session, settings: RunConfig, version: int = 0, seed: int = 0) -> PolicyRef:
    """The policy before its first update."""
    policy = Policy(settings.policy, session.spec.observation, session.spec.action, seed=seed)
    return policy.ref(version)

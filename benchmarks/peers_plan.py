"""Who is compared on what: tasks, contestants, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GOAL = 0.9  # of the way from a random policy to the expert
EPISODES = 50
SEEDS = (0, 1, 2)
LIMIT_S = 900.0  # wall clock of one process


@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment, an expert and an algorithm; its name is the recipe's."""

    title: str
    algorithm: str
    env_id: str
    expert: str | None  # below the folder of experts; None: the recipe's scripted one
    budgets: tuple[int, ...]  # BC: samples in gradient steps; DAgger: the expert's labels
    cap_s: float  # those with a constant learning rate end after so many CPU-seconds of training if no budget ends them earlier
    overrides: Mapping[str, Any] = field(default_factory=dict)  # of the recipe, for a trial
    about_s: Mapping[str, float]  # contestant -> wall-clock seconds of one seed, to announce what is left

    @property
    def unit(self) -> str:
        """What a budget counts."""
        return "samples" if self.algorithm == "bc" else "labels"


_FINE = (32_000, 64_000, 96_000, 128_000, 192_000, 256_000, 384_000, 512_000, 1_024_000)
TASKS = {
    "cartpole-bc": Task(
        title="CartPole-v1, BC, 5 demonstrations",
        algorithm="bc",
        env_id="CartPole-v1",
        expert=None,
        budgets=(6_400, 12_800, 25_600, 51_200, 102_400, 204_800),
        cap_s=10,
        about_s={"distil": 16, "distil-untracked": 8, "imitation-best": 14, "imitation": 22, "rllib": 45, "d3rlpy": 25},
    ),
    "hopper-bc": Task(
        title="Hopper-v5, BC, 20 demonstrations",
        algorithm="bc",
        env_id="Hopper-v5",
        expert="trpo-Hopper-v3/Hopper-v3.zip",
        budgets=_FINE,
        cap_s=20,
        about_s={
            "distil": 30,
            "distil-untracked": 10,
            "imitation-best": 30,
            "imitation": 60,
            "rllib": 45,
            "robomimic": 55,
            "d3rlpy": 55,
        },
    ),
    "halfcheetah-bc": Task(
        title="HalfCheetah-v5, BC, 20 demonstrations",
        algorithm="bc",
        env_id="HalfCheetah-v5",
        expert="tqc-HalfCheetah-v3/HalfCheetah-v3.zip",
        budgets=(1_024_000, 2_048_000),
        cap_s=40,
        about_s={
            "distil": 75,
            "distil-untracked": 30,
            "imitation-best": 75,
            "imitation": 60,
            "rllib": 65,
            "robomimic": 60,
            "d3rlpy": 60,
        },
    ),
    "pendulum-dagger": Task(
        title="Pendulum-v1, DAgger, 4,000 labels",
        algorithm="dagger",
        env_id="Pendulum-v1",
        expert="sac-Pendulum-v1/Pendulum-v1.zip",
        budgets=(800, 1_200, 1_600, 2_400, 4_000),
        cap_s=60,
        about_s={"distil": 45, "distil-untracked": 20, "imitation-best": 30, "imitation": 25},
    ),
    "hopper-dagger": Task(
        title="Hopper-v5, DAgger, 20,000 labels",
        algorithm="dagger",
        env_id="Hopper-v5",
        expert="trpo-Hopper-v3/Hopper-v3.zip",
        budgets=(5_000, 10_000, 15_000, 20_000),
        cap_s=100,
        about_s={"distil": 90, "distil-untracked": 50, "imitation-best": 60, "imitation": 50},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A library and how it is set."""

    title: str
    package: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ("bc",)  # algorithms
    reason: str = ""  # why it is not in all tasks


_NET = {"net": [256, 256], "batch_size": 256}
_OTHER = {**_NET, "lr": 1e-3}
_BOTH = ("bc", "dagger")
CONTESTANTS = {
    "distil": Contestant(title="**distil**, shipped recipe", package="distil", only=_BOTH),
    "distil-untracked": Contestant(
        title="**distil**, `tracking.enabled=false`", package="distil", settings={"tracking.enabled": False}, only=_BOTH
    ),
    "imitation-best": Contestant(
        title="imitation at its best: distil's recipe",
        package="imitation",
        settings={**_NET, "normalise": True, "value": False, "recipe": True},
        only=_BOTH,
    ),
    "imitation": Contestant(title="imitation, defaults", package="imitation", only=_BOTH),
    "rllib": Contestant(title="RLlib, 2x256, batch 256", package="rllib", settings=_OTHER, reason="has no DAgger"),
    "robomimic": Contestant(
        title="robomimic, 2x256, batch 256, input normalisation",
        package="robomimic",
        settings=_OTHER,
        reason="has no DAgger and no discrete actions",
    ),
    "d3rlpy": Contestant(
        title="d3rlpy, 2x256, batch 256, input normalisation", package="d3rlpy", settings=_OTHER, reason="has no DAgger"
    ),
}


def takes_part(task: str, contestant: str) -> bool:
    """Return whether a contestant can do a task."""
    entry = CONTESTANTS[contestant]
    return TASKS[task].algorithm in entry.only and (task, entry.package) != ("cartpole-bc", "robomimic")

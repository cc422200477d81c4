"""Runs with a learned reward, for the tests of its page."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from distil import api
from distil.rewardpage.steps import Seen
from distil.rewardpage.study import Study, study

_SMALL: dict[str, Any] = {"rollouts.num_workers": 0, "tracking.enabled": False, "evaluation.episodes": 0, "data.episodes": 2}
_SHORT: dict[str, tuple[str, dict[str, Any]]] = {
    "grid": ("gridworld-mce-irl", {}),
    "pendulum": (
        "pendulum-dac",
        {"algorithm.steps": 400, "algorithm.steps_per_round": 200, "algorithm.updates_per_step": 0.05, "seed": 1},
    ),
    "clone": ("gridworld-bc", {"learner.num_steps": 1}),
}


@cache
def run_of(name: str) -> Path:
    """The folder of a small run: grid (a table), pendulum (a discriminator), clone (no reward)."""
    root = Path(mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    recipe, changes = _SHORT[name]
    where = {"runs": str(root / "runs"), "data.path": str(root / "demos")}
    return api.train(recipe, _SMALL | where | changes, run=name).path


@cache
def study_of(name: str) -> Study:
    """What its page shows."""
    return study(run_of(name))


def steps_of(before: list[int], after: list[int], terminated: list[bool]) -> Seen:
    """Steps of one episode over Discrete states."""
    none = np.zeros(len(before))
    return Seen(
        source="x",
        before={"obs": np.array(before)},
        after={"obs": np.array(after)},
        actions=none.astype(np.int64),
        true=none,
        learned=none,
        terminated=np.array(terminated),
        episode=none.astype(np.int64),
    )

"""OGBench's own scripted policies for the tasks of `distil.envs.ogbench`. The package is imported only when one is built."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distil.envs.ogbench import TASKS
from distil.errors import InputError
from distil.experts.base import Stateless, every
from distil.types import Array, Labels, Observations

INSTALL = "pip install 'distil[ogbench]'"
_MODULE = "ogbench.manipspace.oracles.markov"


class OGBenchExpert(Stateless):
    """The Markov policies, one for each kind of target. Its actions are [N, 5] float32.

    They read the simulator. When one is reset, it draws where to go after the task from numpy's global state; episodes end with
    the task, so none is reset, and that place is fixed.

    Raises:
        InputError: the extra isn't installed.
    """

    name = "scripted ogbench"
    needs_env = True
    by_row = True

    def __init__(self) -> None:
        self._policies = {task: _policy(task) for task in TASKS}
        self.modules = [str(type(policy).__module__) for policy in self._policies.values()]

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return what to do in each of the `envs`, wrapped or not."""
        assert envs is not None, "needs_env"
        rows = [self._act(env.unwrapped.compute_ob_info()) for env in envs]
        return Labels(actions=np.array(rows, np.float32).reshape(-1, 5), mask=every(len(envs)))

    def _act(self, info: Mapping[str, Any]) -> Array:
        action: Array = self._policies[info["privileged/target_task"]].select_action(None, info)
        return np.clip(action, -1, 1)


def _policy(task: str) -> Any:
    try:
        module = importlib.import_module(f"{_MODULE}.{task}_markov")
    except ModuleNotFoundError as error:
        raise InputError(f"expert scripted ogbench: no module named {error.name!r}; install it with {INSTALL}") from None
    policy = getattr(module, f"{task.capitalize()}MarkovOracle")(env=None)
    policy._final_pos, policy._final_yaw, policy._step = np.array([0.425, 0.0, 0.3]), 0.0, 0
    return policy

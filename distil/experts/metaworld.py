"""MetaWorld's own scripted policies, one per task. The `metaworld` package is imported only when one is built."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distil.config import nearest
from distil.errors import InputError
from distil.experts.base import Stateless, every
from distil.types import Labels, Observations

INSTALL = "pip install 'distil[metaworld]'"


class MetaWorldExpert(Stateless):
    """The scripted policy of one MetaWorld task, called row by row because it takes a single observation.

    Args:
        task: the task's name, such as `reach-v3`.

    Raises:
        InputError: the extra isn't installed, or there is no such task.
    """

    by_row = True

    def __init__(self, task: str) -> None:
        policies = _policies()
        if task not in policies:
            raise InputError(f"MetaWorld has no task {task!r}{nearest(task, list(policies))}")
        self.name = f"scripted metaworld {task}"
        self._policy = policies[task]()
        self.module = str(type(self._policy).__module__)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the policy's actions [N, 4] float32: the displacement of the hand and the gripper's effort."""
        obs_ND = observations["obs"]
        actions_NA = np.zeros((len(obs_ND), 4), np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # its policies warn about values that the clip below corrects
            for row, obs_D in enumerate(obs_ND):
                actions_NA[row] = np.clip(self._policy.get_action(obs_D), -1, 1)
        return Labels(actions=actions_NA, mask=every(len(obs_ND)))


def _policies() -> Mapping[str, Any]:
    try:
        module = importlib.import_module("metaworld.policies")
    except ModuleNotFoundError as error:
        raise InputError(f"expert scripted metaworld: no module named {error.name!r}; install it with {INSTALL}") from None
    policies: Mapping[str, Any] = module.ENV_POLICY_MAP
    return policies

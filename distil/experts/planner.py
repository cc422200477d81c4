"""The optimal policy of an environment whose dynamics are known, by planning on its own reward.

Legend: N environments, S states, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.envs.config import GymEnvConfig, ImportEnvConfig
from distil.envs.dynamics import dynamics_of, rewards_of
from distil.envs.planning import soft_plan
from distil.experts.base import Stateless, every
from distil.types import Array, Labels, Observations

_DISCOUNT = 0.99
_TEMPERATURE = 1e-4  # times the largest reward: the policy is as good as optimal
_EQUAL = 1e-3  # of actions whose log probabilities differ by less, the first one is taken, whatever the rounding errors


class Planner(Stateless):
    """One action a state. Its actions are [N] int64.

    Args:
        env: it has `P` and `initial_state_distrib`.

    Raises:
        InputError: it has not; see `distil.envs.dynamics`.
    """

    name = "scripted planner"
    by_row = True

    def __init__(self, env: GymEnvConfig | ImportEnvConfig) -> None:
        rewards_SA = rewards_of(env)
        scale = float(np.abs(rewards_SA).max()) or 1.0
        plan = soft_plan(dynamics_of(env), rewards_SA, discount=_DISCOUNT, temperature=_TEMPERATURE * scale)
        best_S1 = plan.log_policy_SA.max(-1, keepdims=True)
        self._actions_S: Array = (plan.log_policy_SA >= best_S1 - _EQUAL).argmax(-1)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the action of each state."""
        states_N = observations["obs"]
        return Labels(actions=self._actions_S[states_N], mask=every(len(states_N)))

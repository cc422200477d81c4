"""Planning on a reward where the dynamics are known: the soft-optimal policy, without reinforcement learning.

Legend: S states, A actions, N transitions that can happen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from distil.envs.config import EnvConfig
from distil.envs.dynamics import rewards_of
from distil.envs.planning import occupancy, soft_plan
from distil.objectives.judge import Judge
from distil.objectives.rl_config import SoftViConfig
from distil.objectives.tabular import TableObjective, write
from distil.objectives.transitions import AGENT, Transitions
from distil.policies.policy import Policy
from distil.rewards.frozen import FrozenReward
from distil.store.windows import WindowOptions
from distil.types import Array, Batch


class SoftVi(TableObjective):
    """Soft value iteration (`distil.envs.planning`) on the reward of a model, or the environment's own.

    What the learner does is not looked at: the dynamics say all.
    """

    def __init__(self, config: SoftViConfig, env: EnvConfig | None, policy: Policy, judge: Judge) -> None:
        """Own `policy`; InputError if the environment's dynamics are not known, or the policy is not a table."""
        super().__init__(env, policy)
        self._config, self._env, self._judge = config, env, judge

    @property
    def needs(self) -> Mapping[str, WindowOptions]:
        """The learner's own steps, of which there must be some."""
        return {AGENT: {"n_step": 1, "every": True, "rewards": False}}

    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Plan, and write the policy; return the discounted mean reward of a step by it."""
        config, dynamics, rewards_SA = self._config, self.dynamics, self.rewards()
        plan = soft_plan(dynamics, rewards_SA, discount=config.discount, temperature=config.temperature)
        write(self.policy, plan.log_policy_SA)
        visits_S = occupancy(dynamics, plan.probabilities, dynamics.start_S, discount=config.discount)
        mean = float(visits_S @ (plan.probabilities * rewards_SA).sum(-1))
        return {"reward": torch.tensor(mean, dtype=torch.float64)}

    def evaluation_reward(self) -> FrozenReward | None:
        """Return the reward that it was given; None: the environment's own."""
        return self._judge.frozen()

    def rewards(self) -> Array:
        """Return the expected reward of each action, [S, A]; a state that ended the task has that of the absorbing state."""
        if self._judge.model.reads_rewards:
            assert self._env is not None
            return rewards_of(self._env)
        chances_SAS, ended_S = self.dynamics.transitions_SAS, self.dynamics.is_terminal_S
        states_N, actions_N, ahead_N = np.nonzero(chances_SAS * ~ended_S[:, None, None])
        device = next(self.policy.parameters()).device
        before, actions, after = (torch.from_numpy(x).to(device) for x in (states_N, actions_N, ahead_N))
        found = self._judge.rewards(
            Transitions(
                observations={"obs": before[:, None]},
                actions_BA=actions[:, None],
                next_observations={"obs": after[:, None]},
                terminated_B=torch.from_numpy(ended_S[ahead_N]).to(device),
                is_expert_B=torch.zeros(len(before), dtype=torch.bool, device=device),
                rewards_B=None,
                extras={},
            )
        )
        rewards_SA = np.zeros(chances_SAS.shape[:2])
        given_N, absorbing_N = (x.double().cpu().numpy() for x in (found.rewards_B, found.absorbing_B))
        np.add.at(rewards_SA, (states_N, actions_N), chances_SAS[states_N, actions_N, ahead_N] * given_N)
        rewards_SA[ahead_N[ended_S[ahead_N]]] = absorbing_N[ended_S[ahead_N], None]
        return rewards_SA

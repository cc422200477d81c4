"""A reward that is a table: one number a state, or a state and an action, both Discrete.

Legend: B batch, S states, A actions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from distil.rewards.base import RewardModel, Rewards, Steps


class TabularReward(RewardModel):
    """Numbers from a table, which starts at 0.

    A state that ends the task has its reward for ever; with a table of states and actions, it is the mean over the actions.

    Args:
        num_states: S.
        num_actions: A.
        sees: what a reward depends on.
    """

    table: Tensor

    def __init__(self, num_states: int, num_actions: int, *, sees: Literal["state", "state_action"]) -> None:
        super().__init__()
        num_columns = num_actions if sees == "state_action" else 1
        self.register_buffer("table", torch.zeros(num_states, num_columns, dtype=torch.float64))

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards; features and actions are one-hot."""
        table = self.table.to(steps.features_BF.dtype)
        rows_BA = steps.features_BF @ table
        rewards_B = (rows_BA * steps.actions_BA).sum(-1) if table.shape[1] > 1 else rows_BA[:, 0]
        return Rewards(rewards_B=rewards_B, absorbing_B=(steps.next_features_BF @ table).mean(-1))

"""A reward over the states of a Discrete space: over the cells of a grid world, or state by state.

Legend: S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distil.envs.config import GymEnvConfig, ImportEnvConfig, make
from distil.envs.faults import close_quietly
from distil.envs.gridworld import GridWorld
from distil.rewardpage.steps import Seen
from distil.rewards.function import RewardFunction
from distil.types import Array


@dataclass(frozen=True, kw_only=True)
class States:
    """Rewards of states, and how they lie."""

    learned: Array  # [S, A]; [S, 1] for a reward of the state alone
    true: Array | None  # [S] the mean over the actions; None: the dynamics are not known
    is_seen: Array  # [S] bool: a step of the run's episodes began there, or ended the task there
    is_wall: Array  # [S] bool
    goal: int | None
    num_columns: int  # of the grid; 0: there is no grid


def states(function: RewardFunction, steps: Seen, env: GymEnvConfig | ImportEnvConfig | None, true_SA: Array | None) -> States:
    """Return the reward of each state; of a transition, that of staying.

    Args:
        function: the reward, of one Discrete observation.
        steps: the run's.
        env: the environment; a grid world has walls and a goal.
        true_SA: its own reward, where the dynamics are known.
    """
    leaf, action = function.observation.leaves[0], function.action.leaf
    num_states = leaf.nvec[0]
    num_actions = action.nvec[0] if function.sees != "state" and action.kind == "discrete" else 1
    state, choice = (index.reshape(-1) for index in np.indices((num_states, num_actions)))
    observed = {leaf.name: state + leaf.start}
    acted = choice + action.start if action.kind == "discrete" else np.zeros((len(state), *action.shape))
    learned = function.of_leaves(observed, acted, observed).astype(np.float64).reshape(num_states, num_actions)
    begun, ended = steps.before[leaf.name].reshape(-1), steps.after[leaf.name].reshape(-1)[steps.terminated]
    is_seen = np.isin(np.arange(num_states), np.concatenate([begun, ended]) - leaf.start)
    grid = _grid(env)
    return States(
        learned=learned,
        true=None if true_SA is None else true_SA.mean(1),
        is_seen=is_seen,
        is_wall=np.zeros(num_states, np.bool_) if grid is None else grid.is_wall.reshape(-1),
        goal=None if grid is None else grid.state_of(grid.goal),
        num_columns=0 if grid is None else grid.size,
    )


def _grid(env: GymEnvConfig | ImportEnvConfig | None) -> GridWorld | None:
    if env is None or (isinstance(env, ImportEnvConfig) and env.vectorised):
        return None
    made = make(env)
    close_quietly(made)
    return made.unwrapped if isinstance(made.unwrapped, GridWorld) else None

"""The known dynamics of a tabular environment: what Gymnasium's toy environments, and grid worlds, tell about themselves.

Legend: S states, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from distil.envs.config import GymEnvConfig, ImportEnvConfig, make
from distil.envs.faults import close_quietly
from distil.errors import InputError
from distil.types import Array

MOST_STATES = 2000  # a table of more takes gigabytes, and minutes to solve


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """Where actions lead. A state that ends the task is absorbing: each action stays there."""

    transitions_SAS: Array  # float64, probabilities
    start_S: Array  # float64, probabilities
    is_terminal_S: Array  # bool

    @property
    def num_states(self) -> int:
        """S."""
        return len(self.start_S)

    @property
    def num_actions(self) -> int:
        """A."""
        return int(self.transitions_SAS.shape[1])


def dynamics_of(config: GymEnvConfig | ImportEnvConfig) -> Dynamics:
    """Return the dynamics of an environment with `P` and `initial_state_distrib`; its rewards are not looked at.

    Raises:
        InputError: it does not say what its dynamics are, has other spaces, too many states, or probabilities that do not sum
            to 1, or a state ends the task on some ways into it only.
    """
    table, start_S, shape = _read(config)
    transitions_SAS = np.zeros((*shape, shape[0]))
    for state, action, outcomes in _rows(table):
        for chance, ahead, _, _ in outcomes:
            transitions_SAS[state, action, ahead] += chance
    if not np.allclose(transitions_SAS.sum(-1), 1) or not np.isclose(start_S.sum(), 1) or (transitions_SAS < 0).any():
        raise InputError(f"environment {config.name}: probabilities in P or initial_state_distrib do not sum to 1; fix them")
    is_terminal_S = _terminal(table, start_S, config.name)
    transitions_SAS[is_terminal_S] = np.eye(shape[0])[is_terminal_S][:, None]
    return Dynamics(transitions_SAS=transitions_SAS, start_S=start_S, is_terminal_S=is_terminal_S)


def rewards_of(config: GymEnvConfig | ImportEnvConfig) -> Array:
    """Return the environment's own expected reward of each action, [S, A] float64: 0 after the task's end.

    Raises:
        InputError: see `dynamics_of`.
    """
    table, start_S, shape = _read(config)
    rewards_SA = np.zeros(shape)
    for state, action, outcomes in _rows(table):
        rewards_SA[state, action] = sum(chance * reward for chance, _, reward, _ in outcomes)
    rewards_SA[_terminal(table, start_S, config.name)] = 0.0
    return rewards_SA


_Table = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]


def _read(config: GymEnvConfig | ImportEnvConfig) -> tuple[_Table, Array, tuple[int, int]]:
    """Return P, the first states' probabilities and (S, A) of an environment, which is made and closed."""
    if isinstance(config, ImportEnvConfig) and config.vectorised:
        raise InputError(f"environment {config.name}: a vectorised one shows no table P of its dynamics; omit env.vectorised")
    env = make(config)
    try:
        spaces = env.observation_space, env.action_space
        table, start = (getattr(env.unwrapped, name, None) for name in ("P", "initial_state_distrib"))
    finally:
        close_quietly(env)
    if not all(isinstance(space, gym.spaces.Discrete) and space.start == 0 for space in spaces):
        raise InputError(
            f"environment {config.name}: its spaces are {spaces[0]} and {spaces[1]}, and a table takes Discrete ones that "
            "start at 0: choose such an environment, or an algorithm for other spaces, such as airl"
        )
    num_states, num_actions = int(spaces[0].n), int(spaces[1].n)
    if table is None or start is None:
        raise InputError(
            f"environment {config.name} has no attributes P and initial_state_distrib, as FrozenLake-v1 has them, so its "
            "dynamics are not known: choose an environment that has, or an algorithm that learns by acting, such as airl"
        )
    if num_states > MOST_STATES:
        raise InputError(f"environment {config.name} has {num_states} states, and tables are for up to {MOST_STATES}")
    if not _is_complete(table, num_states, num_actions) or np.shape(start) != (num_states,):
        raise InputError(
            f"environment {config.name}: P or initial_state_distrib is not of {num_states} states and {num_actions} actions, "
            "as its spaces are; remove the wrapper that changes them, or fix the environment"
        )
    return table, np.asarray(start, np.float64), (num_states, num_actions)


def _is_complete(table: Any, num_states: int, num_actions: int) -> bool:
    return len(table) == num_states and all(
        state in table and len(table[state]) == num_actions and all(action in table[state] for action in range(num_actions))
        for state in range(num_states)
    )


def _rows(table: _Table) -> list[tuple[int, int, Sequence[tuple[float, int, float, bool]]]]:
    return [(state, action, outcomes) for state, row in table.items() for action, outcomes in row.items()]


def _terminal(table: _Table, start_S: Array, name: str) -> Array:
    """Return which states end the task, [S] bool: those that an episode can enter with `terminated`."""
    terminal, live, ahead = set[int](), set[int](), np.flatnonzero(start_S).tolist()
    while ahead:
        state = ahead.pop()
        if state in live:
            continue
        live.add(state)
        for outcomes in table[state].values():
            for chance, after, _, ends in outcomes:
                if chance and ends:
                    terminal.add(int(after))
                elif chance:
                    ahead.append(int(after))
    if both := sorted(terminal & live):
        raise InputError(
            f"environment {name}: state {both[0]} ends the task on some ways into it and not on others, which no reward of "
            "states can tell apart: add a state for the end"
        )
    is_terminal_S = np.zeros(len(start_S), np.bool_)
    is_terminal_S[sorted(terminal)] = True
    return is_terminal_S

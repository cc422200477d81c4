"""Planning where the dynamics are known: soft-optimal policies, and how often they visit what.

A soft-optimal policy maximises the discounted sum of rewards plus `temperature` times its entropy, over an endless horizon
(Ziebart, 2010, "Modeling Purposeful Adaptive Behavior with the Principle of Maximum Causal Entropy"; Haarnoja et al., 2017,
arXiv:1702.08165):

    Q(s, a) = r(s, a) + discount * E[V(s')],  V(s) = temperature * log sum_a exp(Q(s, a) / temperature),
    pi(a | s) = exp((Q(s, a) - V(s)) / temperature)

It is found by soft policy iteration, which evaluates each policy exactly: a few linear systems, where sweeps of value iteration
take thousands. Where the task has ended there is nothing to choose: such a state is worth its reward for ever, without entropy.

Legend: S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distil.envs.dynamics import Dynamics
from distil.errors import RunError
from distil.types import Array

_MOST_ROUNDS = 1000
_TOLERANCE = 1e-12  # of values, times their largest


@dataclass(frozen=True, kw_only=True)
class SoftPlan:
    """A soft-optimal policy and its values, float64."""

    values_S: Array
    log_policy_SA: Array

    @property
    def probabilities(self) -> Array:
        """The policy, [S, A]."""
        out: Array = np.exp(self.log_policy_SA)
        return out


def soft_plan(
    dynamics: Dynamics, rewards_SA: Array, *, discount: float, temperature: float = 1.0, first: SoftPlan | None = None
) -> SoftPlan:
    """Return the soft-optimal policy for rewards [S, A].

    Args:
        dynamics: where actions lead.
        rewards_SA: of each action; of a state that ended the task, their mean counts.
        discount: below 1.
        temperature: weight of the entropy, in units of the reward.
        first: a policy to improve, such as that of similar rewards; None: the uniform one.

    Raises:
        RunError: rounding errors keep the values from settling.
    """
    ended_S = dynamics.is_terminal_S
    scale = (float(np.abs(rewards_SA).max()) + temperature) / (1 - discount)
    log_policy_SA = np.full(rewards_SA.shape, -np.log(dynamics.num_actions)) if first is None else first.log_policy_SA
    least = np.inf
    for _ in range(_MOST_ROUNDS):
        policy_SA = np.exp(log_policy_SA)
        gains_S = (policy_SA * (rewards_SA - temperature * log_policy_SA * ~ended_S[:, None])).sum(-1)
        values_S = np.linalg.solve(_system(dynamics, policy_SA, discount), gains_S)
        q_SA = rewards_SA + discount * dynamics.transitions_SAS @ values_S
        better_S = np.where(ended_S, values_S, temperature * np.logaddexp.reduce(q_SA / temperature, axis=-1))
        log_policy_SA = np.where(ended_S[:, None], -np.log(dynamics.num_actions), (q_SA - better_S[:, None]) / temperature)
        change = float(np.abs(better_S - values_S).max())
        if change <= _TOLERANCE * scale or least <= change <= np.sqrt(_TOLERANCE) * scale:  # as exact as rounding allows
            return SoftPlan(values_S=better_S, log_policy_SA=log_policy_SA)
        least = min(least, change)
    raise RunError(f"planning has not settled: values still change by {change:.3g}; lower the discount or the rewards")


def occupancy(dynamics: Dynamics, policy_SA: Array, start_S: Array, *, discount: float) -> Array:
    """Return how often a policy visits each state from `start_S`, [S]: (1 - discount) * sum over t of discount^t P(s_t = s).

    It sums to what `start_S` sums to; `start_S` may have negative entries.
    """
    out: Array = np.linalg.solve(_system(dynamics, policy_SA, discount).T, (1 - discount) * start_S)
    return out


def policy_moves(dynamics: Dynamics, policy_SA: Array) -> Array:
    """Return where a policy goes in a step: probabilities [S, S]."""
    moves_SS: Array = np.matmul(policy_SA[:, None], dynamics.transitions_SAS)[:, 0]
    return moves_SS


def _system(dynamics: Dynamics, policy_SA: Array, discount: float) -> Array:
    out: Array = np.eye(dynamics.num_states) - discount * policy_moves(dynamics, policy_SA)
    return out

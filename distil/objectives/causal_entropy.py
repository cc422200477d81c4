"""Maximum causal entropy inverse reinforcement learning in a table, where the dynamics are known.

The reward r is the one under whose soft-optimal policy (`distil.envs.planning`) the demonstrated actions are the likeliest
(Ziebart, 2010, "Modeling Purposeful Adaptive Behavior with the Principle of Maximum Causal Entropy"; Gleave and Toyer, 2022, "A
Primer on Maximum Causal Entropy Inverse Reinforcement Learning", arXiv:2203.11409):

    maximise  sum over s, a of w(s, a) log pi_r(a | s) - l2 / 2 * |r|^2

with w the share of the demonstrations' steps that take a in s. Its gradient is w - D - l2 * r, where D are the visits that pi_r
is expected to make from where the demonstrations enter each state other than by their own steps. So at the maximum the visits
match, as in the papers. The likelihood needs no end of an episode: what a limit of time cuts off is not taken for a decision.
The horizon is endless and discounted, since a policy that acts by the observation alone cannot know how many steps are left.

Each step is one of Fisher scoring, which is Newton's method where the visits match: tens of them suffice, where first-order
methods take thousands, as rare states have gradients a million times smaller than frequent ones.

Legend: S states, A actions, D numbers of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from distil.envs.dynamics import Dynamics
from distil.envs.planning import SoftPlan, occupancy, policy_moves, soft_plan
from distil.types import Array

Sees = Literal["state", "state_action"]
_LEAST_STRIDE = 1e-8  # of a step's length, in the search for a better point
_ENOUGH = 1e-4  # of the improvement that the gradient promises (Armijo's rule)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A reward, its policy, and how near it is to the maximum."""

    table: Array  # [S] or [S, A] float64
    plan: SoftPlan
    loss: float  # minus the log-likelihood, in nats a step; without l2
    occupancy_gap: float  # total variation distance of the demonstrations' visits and the policy's: 0 same, 1 disjoint
    gradient: float  # largest entry
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class CausalEntropy:
    """The problem.

    Attributes:
        dynamics: where actions lead.
        visits_SA: w, which sums to 1.
        sees: what the reward depends on.
        discount: below 1.
        l2: weight of the square of the reward; above 0, so that a reward of what was never visited is 0 and not arbitrary.
    """

    dynamics: Dynamics
    visits_SA: Array
    sees: Sees
    discount: float
    l2: float

    def fit(self, *, tolerance: float, max_steps: int) -> Fitted:
        """Return the maximum, or what was reached when `gradient` fell to `tolerance` or after `max_steps`."""
        shape = self.visits_SA.shape[: 1 if self.sees == "state" else 2]
        table_D, num_steps = np.zeros(int(np.prod(shape))), 0
        plan, loss = self._loss(table_D, None)
        gradient_D, fisher_DD = self._slope(table_D, plan)
        while np.abs(gradient_D).max() > tolerance and num_steps < max_steps:
            step_D, stride = -np.linalg.solve(fisher_DD, gradient_D), 1.0
            while True:
                after_D = table_D + stride * step_D
                found, smaller = self._loss(after_D, plan)
                if smaller <= loss + _ENOUGH * stride * (gradient_D @ step_D) or stride < _LEAST_STRIDE:
                    break
                stride /= 2
            table_D, plan, loss, num_steps = after_D, found, smaller, num_steps + 1
            gradient_D, fisher_DD = self._slope(table_D, plan)
        return Fitted(
            table=table_D.reshape(shape),
            plan=plan,
            loss=-float((self.visits_SA * plan.log_policy_SA).sum()),
            occupancy_gap=self._gap(plan),
            gradient=float(np.abs(gradient_D).max()),
            num_steps=num_steps,
        )

    def _loss(self, table_D: Array, first: SoftPlan | None) -> tuple[SoftPlan, float]:
        rewards_SA = self.rewards(table_D)
        plan = soft_plan(self.dynamics, rewards_SA, discount=self.discount, first=first)
        return plan, float(self.l2 / 2 * (table_D @ table_D) - (self.visits_SA * plan.log_policy_SA).sum())

    def rewards(self, table_D: Array) -> Array:
        """Return the reward of each action in each state, [S, A]."""
        shape = self.visits_SA.shape
        rewards_SA: Array = np.broadcast_to(table_D.reshape(shape[0], -1), shape)
        return rewards_SA

    def _slope(self, table_D: Array, plan: SoftPlan) -> tuple[Array, Array]:
        """Return the gradient of the loss, [D], and the Fisher information with l2, [D, D]."""
        policy_SA = plan.probabilities
        slope_SAD = self._q_slope(policy_SA)
        slope_SAD -= (policy_SA[..., None] * slope_SAD).sum(1, keepdims=True)  # now that of log pi
        slope_SAD[self.dynamics.is_terminal_S] = 0.0  # no choice there
        gradient_D = self.l2 * table_D - np.tensordot(self.visits_SA, slope_SAD, 2)
        weights_SA = np.sqrt(self.visits_SA.sum(-1, keepdims=True) * policy_SA)
        rows_ND = (weights_SA[..., None] * slope_SAD).reshape(-1, len(table_D))
        return gradient_D, rows_ND.T @ rows_ND + self.l2 * np.eye(len(table_D))

    def _q_slope(self, policy_SA: Array) -> Array:
        """Return the derivative of Q(s, a) by each number of the table, [S, A, D]."""
        num_states, num_actions = policy_SA.shape
        ahead_SS = np.linalg.inv(np.eye(num_states) - self.discount * policy_moves(self.dynamics, policy_SA))
        if self.sees == "state_action":
            ahead_SD = (ahead_SS[:, :, None] * policy_SA).reshape(num_states, -1)
            now_SAD = np.eye(num_states * num_actions).reshape(num_states, num_actions, -1)
        else:
            ahead_SD, now_SAD = ahead_SS, np.eye(num_states)[:, None]
        slope_SAD: Array = now_SAD + self.discount * (self.dynamics.transitions_SAS @ ahead_SD)
        return slope_SAD

    def _gap(self, plan: SoftPlan) -> float:
        """Return how far apart the visits are, as total variation over what the reward sees."""
        visits_S = self.visits_SA.sum(-1)
        onward_S = np.tensordot(self.visits_SA, self.dynamics.transitions_SAS, 2)
        entered_S = (visits_S - self.discount * onward_S) / (1 - self.discount)
        policy_SA = plan.probabilities
        expected_S = occupancy(self.dynamics, policy_SA, entered_S, discount=self.discount)
        if self.sees == "state":
            return float(np.abs(expected_S - visits_S).sum() / 2)
        return float(np.abs(expected_S[:, None] * policy_SA - self.visits_SA).sum() / 2)

"""Distances of two rewards that shaping and scaling don't change: EPIC, DARD, STARC.

Each canonicalises a reward R(s, a, s'), which removes what shaping by a potential adds, and compares what is left over the
steps of a coverage distribution D. 0: the same up to shaping and a positive factor; 1: opposite.

- EPIC (Gleave et al., 2021, arXiv:2006.13900, section 4): with the mean over states and actions that are independent of
  each other, also where no step leads from the one to the other; then Pearson's distance.
- DARD (Wulfe et al., 2022, arXiv:2201.10081, section 4): the same, over what the dynamics make follow.
- STARC (Skalse et al., 2024, arXiv:2309.15257, value-adjusted levelling): E[R + discount * V(s')] - V(s) with the values of one
  policy, divided by its norm; half the distance of the two.

The first two ask for rewards of steps that nobody has taken, so they are for tables; the third can be estimated from steps.

Legend: S states, A actions, N steps, K basis functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from distil.envs.dynamics import Dynamics
from distil.types import Array

_LEAST = 1e-9  # of a spread, relative to the largest value: below that, a reward is constant
_RIDGE = 1e-6


def correlation(one: Array, other: Array, weights: Array | None = None) -> float | None:
    """Return Pearson's correlation of two arrays of one shape; None if one of them is constant."""
    weights = np.full(one.shape, 1 / one.size) if weights is None else weights / weights.sum()
    centred = [x - (weights * x).sum() for x in (one, other)]
    spreads = [float(np.sqrt((weights * x**2).sum())) for x in centred]
    if any(s <= _LEAST * max(1.0, np.abs(x).max()) for s, x in zip(spreads, (one, other), strict=True)):
        return None
    return float(np.clip((weights * centred[0] * centred[1]).sum() / (spreads[0] * spreads[1]), -1, 1))


def pearson_distance(one: Array, other: Array, weights: Array | None = None) -> float | None:
    """Return sqrt((1 - correlation) / 2); None if one of them is constant."""
    found = correlation(one, other, weights)
    return None if found is None else float(np.sqrt((1 - found) / 2))


def direction_distance(one: Array, other: Array, weights: Array | None = None) -> float | None:
    """Return half the distance of two arrays that are divided by their norms; None if one of them is 0."""
    weights = np.full(one.shape, 1 / one.size) if weights is None else weights / weights.sum()
    norms = [float(np.sqrt((weights * x**2).sum())) for x in (one, other)]
    if min(norms) <= _LEAST:
        return None
    return float(np.sqrt((weights * (one / norms[0] - other / norms[1]) ** 2).sum())) / 2


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The distances in a table, computed exactly. Rewards are [S, A, S].

    Attributes:
        dynamics: where actions lead.
        coverage_SA: D, probabilities.
        discount: below 1.
    """

    dynamics: Dynamics
    coverage_SA: Array
    discount: float

    @property
    def _steps(self) -> Array:
        """The probabilities of steps, [S, A, S]."""
        out: Array = self.coverage_SA[..., None] * self.dynamics.transitions_SAS
        return out

    def measures(self, true: Array) -> Mapping[str, Callable[[Array], float | None]]:
        """Return name -> what measures a reward against the true one: the correlation as they are, and the distances."""
        steps_SAS = self._steps
        epic, dard, starc = self.epic(true), self.dard(true), self.starc(true)
        return {
            "correlation": lambda rewards: correlation(rewards, true, steps_SAS),
            "EPIC": lambda rewards: pearson_distance(self.epic(rewards), epic, steps_SAS),
            "DARD": lambda rewards: pearson_distance(self.dard(rewards), dard, steps_SAS),
            "STARC": lambda rewards: direction_distance(self.starc(rewards), starc, self.coverage_SA),
        }

    def epic(self, rewards: Array) -> Array:
        """Return the canonical reward but for a constant, [S, A, S]."""
        states_S, actions_A = self.coverage_SA.sum(1), self.coverage_SA.sum(0)
        mean_S = (rewards @ states_S) @ actions_A
        out: Array = rewards + self.discount * mean_S - mean_S[:, None, None]
        return out

    def dard(self, rewards: Array) -> Array:
        """Return the canonical reward, [S, A, S]."""
        moves_SAS, actions_A = self.dynamics.transitions_SAS, self.coverage_SA.sum(0)
        mean_S = (rewards * moves_SAS).sum(-1) @ actions_A
        later_SS = np.zeros((len(mean_S), len(mean_S)))
        for a in np.flatnonzero(actions_A):
            later_SS += actions_A[a] * moves_SAS[:, a] @ rewards[:, a] @ moves_SAS[:, a].T
        out: Array = rewards + self.discount * mean_S - mean_S[:, None, None] - self.discount * later_SS[:, None]
        return out

    def starc(self, rewards: Array) -> Array:
        """Return the canonical reward, [S, A]; the values are those of the policy that chooses every action alike."""
        moves_SAS = self.dynamics.transitions_SAS
        mean_SA = (rewards * moves_SAS).sum(-1)
        system_SS = np.eye(self.dynamics.num_states) - self.discount * moves_SAS.mean(1)
        values_S = np.linalg.solve(system_SS, mean_SA.mean(1))
        out: Array = mean_SA + self.discount * moves_SAS @ values_S - values_S[:, None]
        return out


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """STARC from steps that were taken. The values are those of who took them, by least squares (LSTD) on basis functions.

    Attributes:
        basis_NK: of the states.
        after_NK: of the next states.
        terminated_N: bool, which steps ended the task.
        discount: below 1.
    """

    basis_NK: Array
    after_NK: Array
    terminated_N: Array
    discount: float

    def canonical(self, rewards_N: Array, at_end: float = 0.0) -> Array:
        """Return reward + discount * V(s') - V(s) of each step, [N].

        Args:
            rewards_N: of the steps.
            at_end: V where the task has ended.
        """
        after_NK = np.where(self.terminated_N[:, None], 0.0, self.after_NK)
        given_N = rewards_N + self.discount * at_end * self.terminated_N
        system_KK = self.basis_NK.T @ (self.basis_NK - self.discount * after_NK)
        ridge = _RIDGE * float(np.trace(self.basis_NK.T @ self.basis_NK)) / len(system_KK)
        weights_K = np.linalg.solve(system_KK + ridge * np.eye(len(system_KK)), self.basis_NK.T @ given_N)
        out: Array = given_N + self.discount * after_NK @ weights_K - self.basis_NK @ weights_K
        return out


def basis(features_NF: Array, rng: np.random.Generator, num: int = 100) -> tuple[Array, Array]:
    """Return frequencies and phases of `num` random cosines (Rahimi and Recht, 2007) of features, for `waves`."""
    size = features_NF.shape[1]
    return rng.normal(size=(size, num)) / np.sqrt(max(size, 1)), rng.uniform(0, 2 * np.pi, num)


def waves(features_NF: Array, drawn: tuple[Array, Array]) -> Array:
    """Return a constant, the features and the cosines, [N, K]."""
    frequencies_FK, phases_K = drawn
    return np.concatenate([np.ones((len(features_NF), 1)), features_NF, np.cos(features_NF @ frequencies_FK + phases_K)], 1)

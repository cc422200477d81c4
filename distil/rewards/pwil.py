"""A fixed reward from a bound of the Wasserstein distance to the demonstrations (PWIL: Dadashi et al., 2021, algorithm 1).

Legend: R rows of complete episodes, N steps of demonstrations, D standardised features and actions, B batch.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from distil.rewards.base import EpisodeReward, Rewards, Steps
from distil.types import Array

_NOTHING = 1e-12  # mass that rounding leaves


class PwilReward(EpisodeReward):
    """scale * exp(-bandwidth * T / sqrt(D) * c): c is what it costs to move a step's share of an episode to the demonstrations.

    Each episode's steps take the nearest steps of the demonstrations in turn, whose mass is used up: the coupling is greedy, so
    its cost bounds the Wasserstein distance from above. It depends on nothing that is learned, so an episode's rewards are
    computed once. The absorbing state is worth what the demonstrations say: `scale` for ever if all of them end in it, 0 if
    none does.

    Args:
        scale: the largest reward.
        bandwidth: how fast the reward falls with the cost.
    """

    after_end: Tensor

    def __init__(self, *, scale: float, bandwidth: float) -> None:
        super().__init__()
        self._scale, self._bandwidth = scale, bandwidth
        self._known: dict[bytes, Array] = {}  # an episode's content -> its rewards
        self.register_buffer("after_end", torch.zeros(()))  # reward of the absorbing state

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards that were computed when the update began."""
        assert steps.rewards_B is not None
        return Rewards(rewards_B=steps.rewards_B, absorbing_B=self.after_end.expand(len(steps.rewards_B)))

    def of_episodes(self, rows: Steps, ends_R: Array, shown: Steps, shown_ends_N: Array) -> tuple[Array, Array]:
        """Return the rewards by the greedy coupling; a demonstration's are the largest."""
        num_shown = int(shown_ends_N.sum())
        self.after_end.fill_(self._scale * float(shown.terminated_B.sum()) / num_shown)
        rewards_R = self._coupled(_points(rows), ends_R, _points(shown), len(shown_ends_N) / num_shown)
        return rewards_R, np.full(len(shown_ends_N), self._scale, np.float32)

    def _coupled(self, rows_RD: Array, ends_R: Array, shown_ND: Array, horizon: float) -> Array:
        starts = np.flatnonzero(np.concatenate([[True], ends_R[:-1]]))
        known, out = {}, np.empty(len(rows_RD), np.float32)
        for start, stop in zip(starts, [*starts[1:], len(rows_RD)], strict=True):
            episode_TD = rows_RD[start:stop]
            key = episode_TD.tobytes()
            known[key] = self._known[key] if key in self._known else self._rewards(episode_TD, shown_ND, horizon)
            out[start:stop] = known[key]
        self._known = known  # of the episodes that are still kept
        return out

    def _rewards(self, episode_TD: Array, shown_ND: Array, horizon: float) -> Array:
        left_N = np.full(len(shown_ND), 1 / len(shown_ND))
        rate = self._bandwidth * horizon / math.sqrt(shown_ND.shape[1])
        costs_T = np.empty(len(episode_TD))
        for t, step_D in enumerate(episode_TD):
            distances_N = np.sqrt(np.square(shown_ND - step_D).sum(1))
            costs_T[t] = _move(1 / horizon, distances_N, left_N)
        return (self._scale * np.exp(-rate * costs_T)).astype(np.float32)


def _move(mass: float, distances_N: Array, left_N: Array) -> float:
    """Move a mass to the nearest places that have room, and take it from `left_N`; inf if there is too little room."""
    cost = 0.0
    distances_N[left_N <= _NOTHING] = math.inf
    while mass > _NOTHING:
        place = int(distances_N.argmin())
        if distances_N[place] == math.inf:
            return math.inf
        moved = min(mass, float(left_N[place]))
        cost += moved * float(distances_N[place])
        left_N[place] -= moved
        mass -= moved
        distances_N[place] = math.inf
    return cost


def _points(steps: Steps) -> Array:
    """Return features and actions of steps, float32 [B, D]."""
    points_BD: Array = torch.cat([steps.features_BF, steps.actions_BA], -1).cpu().numpy()
    return points_BD

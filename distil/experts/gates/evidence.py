"""What gates are fitted to: what a policy does and knows at the states that a run has collected.

Legend: R rows (transitions), H observation horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distil.experts.gates.discrepancy import Discrepancy
from distil.experts.gates.regressor import fit_regressor
from distil.policies.acting import replay
from distil.policies.spec import PolicyRef
from distil.seeding import generator, integer
from distil.store import Sampler, Snapshot
from distil.store.index import EpisodeIndex
from distil.types import Array

MAX_ROWS = 1 << 16  # transitions that are used: enough for small networks and quantiles
_MAX_BYTES = 1 << 28  # of their observations: fewer transitions of images
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Visited:
    """States that a policy visited."""

    observations: Mapping[str, Array]  # leaf name -> [R, ...]
    doubt: Array | None  # [R] disagreement of the policy's members; None: it is not an ensemble
    episodes: EpisodeIndex  # whose steps they are, in order


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A policy, data, and a seed. What is fitted to them is a pure function: a resumed run gets the same gate."""

    policy: PolicyRef  # the one that will act
    data: Snapshot  # what the run has collected so far; at least one labelled transition
    seed: int  # of the choice of episodes, and of the fits

    def labelled(self) -> tuple[Mapping[str, Array], Array]:
        """Return labelled observations, leaf name -> [R, ...], and [R] how far the policy is from the labels."""
        windows, labels = self._windows(self._some(self.data.episodes.num_labelled > 0), every=False)
        actions, _ = replay(self.policy, windows)
        return _current(windows), Discrepancy(self.data.spec.action.leaf)(actions, labels)

    def visited(self) -> Visited:
        """Return states that policies visited; those of the demonstrations, if no policy has acted yet."""
        by_policy = self.data.episodes.policy_version >= 0
        chosen = self._some(by_policy if by_policy.any() else ~by_policy)
        windows, _ = self._windows(chosen, every=True)
        _, doubt = replay(self.policy, windows)
        return Visited(observations=_current(windows), doubt=doubt, episodes=chosen.episodes)

    def predictor(self, observations: Mapping[str, Array], targets: Array, high: float, name: str = "") -> PolicyRef:
        """Return a network fitted to `targets` [R], numbers from 0 to `high`; see `fit_regressor`.

        Args:
            observations: leaf name -> [R, ...].
            targets: [R].
            high: the largest number that it can predict.
            name: tells the predictors of one gate apart.
        """
        seed = integer(self.seed, name) if name else self.seed
        return fit_regressor(observations, targets, high, self.data.spec.observation, seed)

    @property
    def _horizon(self) -> int:
        return self.policy.spec.config.obs_horizon

    def _windows(self, data: Snapshot, every: bool) -> tuple[dict[str, Array], Array]:
        """Return leaf name -> [R, H, ...] and the labels [R, ...] of labelled transitions, or of `every` one; in order."""
        batches = list(Sampler(data, obs_horizon=self._horizon, every=every).scan(_BLOCK))
        windows = {name: np.concatenate([batch.observations[name] for batch in batches]) for name in batches[0].observations}
        return windows, np.concatenate([batch.actions[:, 0] for batch in batches])

    def _some(self, is_eligible: Array) -> Snapshot:
        """Return eligible episodes, drawn until they have `MAX_ROWS` transitions, or windows of `_MAX_BYTES`."""
        data = self.data
        window_bytes = self._horizon * sum(
            np.dtype(leaf.dtype).itemsize * int(np.prod(leaf.shape)) for leaf in data.spec.observation.leaves
        )
        most = min(MAX_ROWS, max(_BLOCK, _MAX_BYTES // window_bytes))
        chosen = generator(self.seed, "gate episodes").permutation(np.flatnonzero(is_eligible))
        enough = int(np.searchsorted(np.cumsum(data.episodes.length[chosen]), most)) + 1
        return data.select(np.sort(chosen[:enough]))


def _current(windows: Mapping[str, Array]) -> dict[str, Array]:
    """Return the last observations of windows."""
    return {name: values[:, -1] for name, values in windows.items()}


def predicted(predictor: PolicyRef, observations: Mapping[str, Array]) -> Array:
    """Return the numbers [R] that a predictor gives for observations [R, ...]."""
    values, _ = replay(predictor, observations)
    out: Array = values[:, 0]
    return out

"""How far the states of a run's own episodes are from those of its demonstrations: a measure that no reward enters.

It tells when to stop, or which settings to prefer, where the true return may not be looked at (Hussenot et al., 2021,
arXiv:2105.12034, section 5).

Legend: R rows, F features, D directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distil.policies.layout import layout
from distil.store import Snapshot
from distil.types import Array

_DIRECTIONS, _MOST_ROWS, _MOST_EPISODES = 32, 2000, 100
_CONSTANT = 1e-6  # a feature that varies less, relative to its magnitude, is only centred


def state_distance(own: Sequence[Snapshot], demonstrations: Sequence[Snapshot]) -> float | None:
    """Return the sliced Wasserstein distance of the states (Bonneel et al., 2015), in the demonstrations' standard deviations.

    It is the mean of the distances along fixed random directions. Images are left out.

    Args:
        own: what a policy has done.
        demonstrations: what the expert has done.

    Returns:
        The distance; None if all observations are images.
    """
    from scipy.stats import wasserstein_distance  # takes 0.5 s

    if all(leaf.is_image for leaf in demonstrations[0].spec.observation.leaves):
        return None
    own_RF, shown_RF = (np.concatenate([_features(part) for part in parts]) for parts in (own, demonstrations))
    mean, std = shown_RF.mean(0), shown_RF.std(0)
    std = np.where(std <= _CONSTANT * abs(shown_RF).max(0), 1.0, std)
    own_RF, shown_RF = ((_thinned(rows_RF) - mean) / std for rows_RF in (own_RF, shown_RF))
    directions_FD = np.random.default_rng(0).normal(size=(shown_RF.shape[1], _DIRECTIONS))
    directions_FD /= np.linalg.norm(directions_FD, axis=0)
    pairs = zip((own_RF @ directions_FD).T, (shown_RF @ directions_FD).T, strict=True)
    return float(np.mean([wasserstein_distance(one, other) for one, other in pairs]))


def _features(snapshot: Snapshot) -> Array:
    """Return all observations of the first episodes as one vector each, [R, F]; choices are one-hot."""
    parts = [part for part in layout(snapshot.spec.observation.leaves) if not part.leaf.is_image]
    if snapshot.num_episodes > _MOST_EPISODES:
        snapshot = snapshot.first(_MOST_EPISODES)
    columns = snapshot.columns([part.leaf.name for part in parts])
    found = [np.empty((int((snapshot.episodes.length + 1).sum()), 0))]
    for part in parts:
        rows = columns[part.leaf.name]
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        found.append(flat if part.factor is None else (flat[:, part.factor] == part.value).astype(np.float64))
    return np.concatenate(found, 1)


def _thinned(rows_RF: Array) -> Array:
    """Return at most so many rows, evenly spaced."""
    num = len(rows_RF)
    return rows_RF if num <= _MOST_ROWS else rows_RF[np.linspace(0, num - 1, _MOST_ROWS).astype(np.int64)]

"""How far the states of a run's own episodes are from those of its demonstrations: a measure that no reward enters.

It tells when to stop, or which settings or policies to prefer, where the true return may not be looked at (Hussenot et al.,
2021, arXiv:2105.12034, section 5).

An episode that ends its task early has states like the expert's, and is over all the same: until the longest episode's end, it
counts as in the absorbing state, which is far from all others.

Legend: R rows, F features, D directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distil.policies.layout import layout
from distil.store import Snapshot, StoreSpec
from distil.types import Array

_DIRECTIONS, _MOST_ROWS, _MOST_EPISODES = 32, 2000, 100
_FAR = 5.0  # standard deviations: a state of which an element is farther off, or the absorbing state, is just elsewhere
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

    if not has_states(demonstrations[0].spec):
        return None
    own, demonstrations = ([_few(part) for part in parts] for parts in (own, demonstrations))
    own_RF, shown_RF = (np.concatenate([_features(part) for part in parts]) for parts in (own, demonstrations))
    mean, std = shown_RF.mean(0), shown_RF.std(0)
    std = np.where(std <= _CONSTANT * abs(shown_RF).max(0), 1.0, std)
    horizon = max(int(part.episodes.length.max()) for part in (*own, *demonstrations))
    sets = [
        _with_absorbing(((_thinned(rows_RF) - mean) / std).clip(-_FAR, _FAR), len(rows_RF), _num_after(parts, horizon))
        for rows_RF, parts in ((own_RF, own), (shown_RF, demonstrations))
    ]
    (own_RF, own_weights_R), (shown_RF, shown_weights_R) = sets
    directions_FD = np.random.default_rng(0).normal(size=(shown_RF.shape[1], _DIRECTIONS))
    directions_FD /= np.linalg.norm(directions_FD, axis=0)
    pairs = zip((own_RF @ directions_FD).T, (shown_RF @ directions_FD).T, strict=True)
    return float(np.mean([wasserstein_distance(one, other, own_weights_R, shown_weights_R) for one, other in pairs]))


def has_states(spec: StoreSpec) -> bool:
    """Return whether anything but images is observed."""
    return not all(leaf.is_image for leaf in spec.observation.leaves)


def _few(snapshot: Snapshot) -> Snapshot:
    return snapshot.first(_MOST_EPISODES) if snapshot.num_episodes > _MOST_EPISODES else snapshot


def _num_after(parts: Sequence[Snapshot], horizon: int) -> int:
    """Return the steps from the ends of tasks to the horizon."""
    return sum(int((horizon - part.episodes.length[part.episodes.terminated == 1]).sum()) for part in parts)


def _with_absorbing(rows_RF: Array, num: int, num_after: int) -> tuple[Array, Array]:
    """Return rows with a mark of 0 and the absorbing state as one more, and their weights: they stand for `num` rows."""
    out = np.zeros((len(rows_RF) + 1, rows_RF.shape[1] + 1))
    out[:-1, :-1], out[-1, -1] = rows_RF, _FAR
    return out, np.append(np.full(len(rows_RF), num / len(rows_RF)), num_after)


def _features(snapshot: Snapshot) -> Array:
    """Return all observations as one vector each, [R, F]; choices are one-hot."""
    parts = [part for part in layout(snapshot.spec.observation.leaves) if not part.leaf.is_image]
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

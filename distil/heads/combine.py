"""How the default actions of an ensemble's members become one action, and how much they disagree, in numpy (no torch).

Legend: M members, N environments, T action chunk, A action dimension (or factor).
"""

from __future__ import annotations

import numpy as np

from distil.types import Array

Combined = tuple[Array, Array]  # the action [N, T, A], and the doubt [N, T] float32


def mean(points_MNTA: Array) -> Combined:
    """Return the mean of the members' actions. The doubt is their standard deviation, averaged over the action's dimensions.

    Both are in the head's space, where half of the action range is 1 (Menda et al., 2019, "EnsembleDAgger", whose doubt is the
    variance).
    """
    centre = points_MNTA.mean(0)
    deviation = np.sqrt(np.square(points_MNTA - centre).mean(0))
    return centre, deviation.mean(-1, dtype=np.float32)


def medoid(points_MNTA: Array) -> Combined:
    """Return the chunk of the member whose sum of squared distances to the others' is smallest; of a tie, the first one's.

    Members that chose different ways are not averaged: between two right answers there may be none. The doubt is `mean`'s.
    """
    squares_MMN = np.square(points_MNTA[:, None] - points_MNTA).sum((3, 4))
    nearest_N = squares_MMN.sum(1).argmin(0)
    return points_MNTA[nearest_N, np.arange(len(nearest_N))], mean(points_MNTA)[1]


def vote(choices_MNTA: Array) -> Combined:
    """Return the choice of most members; of a tie, the lowest.

    The doubt is the share of members that voted for another one, averaged over the action's factors.
    """
    num_alike = (choices_MNTA[:, None] == choices_MNTA).sum(1)
    most = num_alike.max(0)
    chosen = np.where(num_alike == most, choices_MNTA, np.iinfo(choices_MNTA.dtype).max).min(0)
    return chosen, (1 - most / len(choices_MNTA)).mean(-1, dtype=np.float32)


def by_kind(points_MNTA: Array) -> Combined:
    """Return the mean of numbers, or the vote of choices (integers)."""
    return mean(points_MNTA) if points_MNTA.dtype.kind == "f" else vote(points_MNTA)

"""A slice of a reward: over two dimensions of what is observed, the rest at the medians of the run's steps.

Legend: N steps, D dimensions, C columns (of the first dimension), R rows (of the second one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distil.errors import InputError
from distil.rewardpage.steps import Seen
from distil.rewards.function import RewardFunction
from distil.spaces import Leaf
from distil.types import Array

NUM_CELLS = 31  # along a side
_MARGIN = 0.1  # of the range, on both sides
_NEAR = 1.0  # standard deviations: the root mean square of the other dimensions' distances from their medians
COVERED = "Coloured: a step of these episodes lies in the cell or next to it"
NEARBY = ", and its other values are, in the root mean square, within one standard deviation of the medians"
GUESSED = "Hatched: no data, so the reward there is a guess."


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Rewards over two dimensions."""

    names: tuple[str, str]  # of the horizontal and the vertical one, such as obs[0]
    x_C: Array  # centres of the cells
    y_R: Array
    rewards_RC: Array
    is_covered_RC: Array  # bool
    source: str  # whose medians the others have
    fixed: Sequence[str]  # what the others are, such as "obs[2] = 0.1"


def dimensions(leaves: Sequence[Leaf]) -> dict[str, tuple[Leaf, int]]:
    """Return the dimensions that can be cut along: name -> leaf and place in C order. They are those of Boxes but images."""
    return {
        f"{leaf.name}[{i}]": (leaf, i)
        for leaf in leaves
        if leaf.kind == "box" and not leaf.is_image
        for i in range(int(np.prod(leaf.shape)))
    }


def parse(text: str, leaves: Sequence[Leaf]) -> tuple[str, str]:
    """Return the two dimensions that `--slice` names; InputError if one is not there."""
    names, known = [part.strip() for part in text.split(",")], dimensions(leaves)
    if len(names) != 2 or names[0] == names[1]:
        raise InputError(f"--slice {text}: name two different dimensions, such as --slice obs[0],obs[1]")
    for name in names:
        if name not in known:
            raise InputError(f"--slice {text}: the reward reads no {name}; {_which(known)}")
    return names[0], names[1]


def _which(known: Mapping[str, tuple[Leaf, int]]) -> str:
    if not known:
        return "none of its observations is a Box of numbers, so there is nothing to cut along: omit --slice"
    first: dict[str, int] = {}
    for leaf, place in known.values():
        first[leaf.name] = place
    return "there are " + ", ".join(f"{name}[0] to {name}[{last}]" if last else f"{name}[0]" for name, last in first.items())


def widest(steps: Seen, leaves: Sequence[Leaf]) -> tuple[str, str] | None:
    """Return the two dimensions with the widest spread (5 % to 95 % of the steps), in their order; None: fewer vary."""
    spreads = {name: float(np.ptp(np.quantile(_column(steps, *at), (0.05, 0.95)))) for name, at in dimensions(leaves).items()}
    best = sorted((name for name in spreads if spreads[name] > 0), key=lambda name: -spreads[name])[:2]
    if len(best) < 2:
        return None
    first, second = (name for name in spreads if name in best)
    return first, second


def cut(function: RewardFunction, steps: Seen, centre: Seen, names: tuple[str, str]) -> Slice:
    """Return a slice.

    Args:
        function: the reward.
        steps: all steps, which say where there are data.
        centre: those whose medians the other dimensions, and the actions, are set to.
        names: of the two dimensions.

    Raises:
        InputError: one of them does not vary, or no step comes near.
    """
    known = dimensions(function.observation.leaves)
    x_N, y_N = (_column(steps, *known[name]) for name in names)
    for name, values in zip(names, (x_N, y_N), strict=True):
        if np.ptp(values) == 0:
            raise InputError(f"--slice: {name} is {values[0]:g} in all steps of the run's episodes: choose another dimension")
    x_C, y_R = (_centres(values, *known[name]) for name, values in zip(names, (x_N, y_N), strict=True))
    is_near_N = _near(steps, centre, {name: at for name, at in known.items() if name not in names})
    is_covered_RC = _covered(x_N[is_near_N], y_N[is_near_N], x_C, y_R)
    if not is_covered_RC.any():
        raise InputError(
            f"--slice {','.join(names)}: no step of the run's episodes is near the medians of all other dimensions, so there "
            "is nothing but guesses to show: choose two others"
        )
    medians = {leaf.name: _median(leaf, centre.before[leaf.name]) for leaf in function.observation.leaves}
    action, num = _median(function.action.leaf, centre.actions), x_C.size * y_R.size
    rows = {name: np.repeat(value[None], num, 0) for name, value in medians.items()}
    for name, values in zip(names, np.meshgrid(x_C, y_R), strict=True):
        leaf, place = known[name]
        rows[leaf.name].reshape(num, -1)[:, place] = values.reshape(-1)
    rewards = function.of_leaves(rows, np.repeat(action[None], num, 0), rows).astype(np.float64)
    fixed = [f"{name} = {medians[leaf.name].reshape(-1)[i]:.3g}" for name, (leaf, i) in known.items() if name not in names]
    fixed += [f"action = {', '.join(f'{x:.3g}' for x in np.ravel(action))}"] if function.sees != "state" else []
    fixed += ["the next observation = the observation"] if function.sees == "transition" else []
    return Slice(
        names=names,
        x_C=x_C,
        y_R=y_R,
        rewards_RC=rewards.reshape(len(y_R), len(x_C)),
        is_covered_RC=is_covered_RC,
        source=centre.source,
        fixed=tuple(fixed),
    )


def _column(steps: Seen, leaf: Leaf, place: int) -> Array:
    rows = steps.before[leaf.name]
    out: Array = rows.reshape(len(rows), -1)[:, place].astype(np.float64)
    return out


def _centres(values: Array, leaf: Leaf, place: int) -> Array:
    """Return the centres of the cells: the range of the values and a margin, inside the space's bounds."""
    low, high = float(values.min()), float(values.max())
    room = _MARGIN * (high - low)
    least, most = (float(bound.reshape(-1)[place]) for bound in leaf.bounds())
    low, high = min(low, max(low - room, least)), max(high, min(high + room, most))
    edges = np.linspace(low, high, NUM_CELLS + 1)
    out: Array = (edges[1:] + edges[:-1]) / 2
    return out


def _near(steps: Seen, centre: Seen, others: Mapping[str, tuple[Leaf, int]]) -> Array:
    """Return which steps are near the medians of the other dimensions, [N] bool."""
    squares = []
    for leaf, place in others.values():
        values_N, middle_N = _column(steps, leaf, place), _column(centre, leaf, place)
        if (spread := float(values_N.std())) > 0:
            squares.append(((values_N - np.median(middle_N)) / spread) ** 2)
    if not squares:
        return np.ones(len(steps), np.bool_)
    out: Array = np.sqrt(np.mean(squares, 0)) <= _NEAR
    return out


def _covered(x_N: Array, y_N: Array, x_C: Array, y_R: Array) -> Array:
    """Return which cells have a step in them, or in a neighbour, [R, C] bool."""
    out = np.zeros((len(y_R) + 2, len(x_C) + 2), np.bool_)
    columns, rows = (
        np.clip(np.floor((values - at[0]) / (at[1] - at[0]) + 0.5), 0, len(at) - 1).astype(np.int64)
        for values, at in ((x_N, x_C), (y_N, y_R))
    )
    for down in range(3):
        for right in range(3):
            out[rows + down, columns + right] = True
    return out[1:-1, 1:-1]


def _median(leaf: Leaf, rows: Array) -> Array:
    """Return the median of numbers, the most frequent of choices."""
    if leaf.kind == "box":
        return np.asarray(np.median(rows, 0), rows.dtype)
    flat = rows.reshape(len(rows), -1)
    return np.array([np.bincount(column - column.min()).argmax() + column.min() for column in flat.T], rows.dtype).reshape(
        leaf.shape
    )

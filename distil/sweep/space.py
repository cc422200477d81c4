"""What a sweep may vary: dotted keys of the recipe, each with the values that it may have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import model_validator

from distil.config import Config

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Values = dict[str, Any]  # dotted key -> value
_Int = int  # the class below has a field of that name
_MAX_GRID = 10_000


class Distribution(Config):
    """The values of one key. Exactly one of its kinds is given, such as `{loguniform: [1.0e-4, 1.0e-2]}`."""

    choice: tuple[Any, ...] | None = None  # one of these, all alike
    uniform: tuple[float, float] | None = None  # a number between the two
    loguniform: tuple[float, float] | None = None  # its logarithm is uniform
    int: tuple[_Int, _Int] | None = None  # a whole number from the first to the second
    grid: tuple[Any, ...] | None = None  # each of these, in turn

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"needs exactly one of {kinds}, such as {{choice: [1, 2]}}; found {', '.join(given) or 'none'}")
        values = getattr(self, given[0])
        if not values:
            raise ValueError(f"{given[0]} has no value")
        if given[0] in ("uniform", "loguniform", "int") and not values[0] < values[1]:
            raise ValueError(f"{given[0]} needs [low, high] with low < high, not {list(values)}")
        if given[0] == "loguniform" and values[0] <= 0:
            raise ValueError(f"loguniform needs positive limits, not {list(values)}")
        return self

    @property
    def kind(self) -> str:
        """Which kind is given."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def points(self) -> Sequence[Any] | None:
        """All values, if they can be counted."""
        if self.int is not None:
            return range(self.int[0], self.int[1] + 1)
        return self.choice or self.grid

    @property
    def ends(self) -> Sequence[Any]:
        """Values whose validity says much about that of all: the countable ones, or the limits."""
        points = self.points
        limits = self.uniform or self.loguniform
        return limits if limits is not None else points if points is not None and len(points) <= 20 else (points or ())[:20]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one value."""
        if (points := self.points) is not None:
            return points[int(rng.integers(len(points)))]
        if self.uniform is not None:
            return float(rng.uniform(*self.uniform))
        assert self.loguniform is not None
        low, high = self.loguniform
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    def suggest(self, trial: BaseTrial, key: str) -> Any:
        """Return Optuna's value for a key."""
        if self.uniform is not None:
            return trial.suggest_float(key, *self.uniform)
        if self.loguniform is not None:
            return trial.suggest_float(key, *self.loguniform, log=True)
        if self.int is not None:
            return trial.suggest_int(key, *self.int)
        points = self.points
        assert points is not None
        return points[trial.suggest_categorical(key, range(len(points)))]  # their numbers: Optuna takes no lists


Space = Mapping[str, Distribution]


def draw(space: Space, rng: np.random.Generator) -> Values:
    """Return one value for each key, independent of each other."""
    return {key: space[key].draw(rng) for key in sorted(space)}


def grid_size(space: Space) -> int:
    """Return the number of points of the grid; ValueError if a key's values cannot be counted, or there are too many."""
    size = 1
    for key, distribution in space.items():
        points = distribution.points
        if points is None:
            raise ValueError(f"{key}: {distribution.kind} has no end in a grid: give its values as grid, or use kind=random")
        size *= len(points)
    if size > _MAX_GRID:
        raise ValueError(f"a grid of {size:,} points; the limit is {_MAX_GRID:,}: leave out keys or values, or use kind=random")
    return size


def grid(space: Space) -> Iterator[Values]:
    """Yield all points; the last key varies fastest."""
    keys = list(space)
    for values in itertools.product(*(space[key].points or () for key in keys)):
        yield dict(zip(keys, values, strict=True))

"""Which values a trial gets: a pure function of the sweep, the trial's number in its family, and the results so far.

So nothing has to be saved: a sweep that was killed proposes the same values again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distil.errors import InputError
from distil.seeding import generator, integer
from distil.sweep.config import GridConfig, SweepConfig, TpeConfig
from distil.sweep.space import Space, Values, draw, grid, grid_size

if TYPE_CHECKING:
    from optuna import Study


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A finished trial of a family: its values and what it reached."""

    values: Values
    score: float  # larger is better
    labels: float = 0.0  # that it paid for


def num_trials(sweep: SweepConfig, space: Space) -> int:
    """Return how many trials a family has."""
    return grid_size(space) if isinstance(sweep.searcher, GridConfig) else sweep.searcher.trials


def propose(sweep: SweepConfig, family: str, space: Space, number: int, tried: Sequence[Tried]) -> Values:
    """Return the values of trial `number` (from 0) of a family; `tried` are its finished ones, by their numbers."""
    searcher = sweep.searcher
    if isinstance(searcher, GridConfig):
        return next(values for index, values in enumerate(grid(space)) if index == number)
    if isinstance(searcher, TpeConfig) and number >= searcher.random:
        return _by_tpe(sweep, family, space, number, tried)
    return draw(space, generator(sweep.seed, "sweep", family, number))


def check_searcher(sweep: SweepConfig) -> None:
    """Raise InputError if its package is missing."""
    if isinstance(sweep.searcher, TpeConfig):
        try:
            import optuna  # noqa: F401
        except ModuleNotFoundError:
            raise InputError(
                "searcher.kind=tpe needs Optuna: pip install 'distil[sweep]', or use searcher.kind=random"
            ) from None


def _by_tpe(sweep: SweepConfig, family: str, space: Space, number: int, tried: Sequence[Tried]) -> Values:
    study = _study(sweep, family, number)
    for one in tried:
        study.add_trial(_known(sweep, space, one))
    trial = study.ask()
    return {key: space[key].suggest(trial, key) for key in sorted(space)}


def _study(sweep: SweepConfig, family: str, number: int) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = integer(sweep.seed, "sweep", family, number) % 2**32
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    if sweep.by_labels:
        return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    return optuna.create_study(direction="maximize", sampler=sampler)


def _known(sweep: SweepConfig, space: Space, tried: Tried) -> Any:
    """Return a finished trial as Optuna has it."""
    import optuna

    fixed = optuna.trial.FixedTrial({key: _index(space, key, value) for key, value in tried.values.items()})
    for key in sorted(space):
        space[key].suggest(fixed, key)
    values = [tried.score, tried.labels] if sweep.by_labels else [tried.score]
    return optuna.trial.create_trial(params=fixed.params, distributions=fixed.distributions, values=values)


def _index(space: Space, key: str, value: Any) -> Any:
    """Return a value as Optuna knows it: by its number where it is one of a list."""
    distribution = space[key]
    if distribution.int is not None or (points := distribution.points) is None:
        return value
    return list(points).index(tuple(value) if isinstance(value, list) and isinstance(points[0], tuple) else value)

"""The file of a sweep: which families, what varies, what is held equal, how it is searched, and how the best are confirmed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from distil.config import Config, Shelf, apply_overrides, validate
from distil.sweep.defaults import DEFAULTS
from distil.sweep.space import Distribution, grid_size

SWEEPS = Shelf(package="distil.sweep.shipped", kept="sweep.yaml", what="sweep", of="sweep")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class FamilyConfig(Config):
    """One family: an algorithm with what may vary about it."""

    recipe: str | None = None  # null: the sweep's
    set: dict[str, Any] = Field(default_factory=dict)  # dotted key -> value, for all trials of this family
    search: Literal["default"] | dict[str, Distribution] = "default"  # default: the space that ships for the algorithm


class RandomConfig(Config):
    """Independent draws from the space."""

    kind: Literal["random"] = "random"
    trials: int = Field(default=8, ge=1)  # of each family


class GridConfig(Config):
    """Every point of the space, whose values must be countable."""

    kind: Literal["grid"] = "grid"


class TpeConfig(Config):
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011). Needs the extra `sweep`."""

    kind: Literal["tpe"] = "tpe"
    trials: int = Field(default=8, ge=1)  # of each family
    random: int = Field(default=4, ge=1)  # of these, the first ones are random draws
    labels: bool = False  # also minimise what the expert labels: search, and confirm, the Pareto front of both


class NoSchedulerConfig(Config):
    """Every trial gets its whole budget."""

    kind: Literal["none"] = "none"


class AshaConfig(Config):
    """Successive halving without waiting (ASHA: Li et al., 2020): at each rung, trials of the lower part are stopped."""

    kind: Literal["asha"] = "asha"
    first: float = Field(default=0.25, gt=0, lt=1)  # the first rung, as a fraction of a trial's own budget
    factor: float = Field(default=2.0, gt=1)  # from one rung to the next; of a rung's trials, one in `factor` continues


class MedianConfig(Config):
    """A trial is stopped if its best score is below the median of the others' means so far (Golovin et al., 2017)."""

    kind: Literal["median"] = "median"
    first: float = Field(default=0.25, gt=0, lt=1)  # no trial is stopped before this fraction of its budget
    trials: int = Field(default=3, ge=1)  # of the same family that must have come as far


class BudgetConfig(Config):
    """What trials of different families get alike. None: what their recipes say."""

    labels: int | None = Field(default=None, ge=1)  # steps that the expert labels: of cloning and DAgger
    steps: int | None = Field(default=None, ge=1)  # demonstrations' and the learner's own: of imitation by interaction


class ConfirmConfig(Config):
    """The best configurations of the search are trained again, with fresh seeds, and scored on the held-out episodes."""

    best: int = Field(default=3, ge=0)  # how many configurations; 0: none is confirmed
    seeds: int = Field(default=5, ge=2)  # of each
    episodes: int | None = Field(default=None, ge=1)  # null: the recipe's `evaluation.episodes`


class SweepConfig(Config):
    """A sweep."""

    name: Name = "sweep"
    recipe: str  # environment, expert and defaults of all families
    set: dict[str, Any] = Field(default_factory=dict)  # dotted key -> value, for all trials
    families: dict[Name, FamilyConfig] = Field(min_length=1)
    search: dict[str, Distribution] = Field(default_factory=dict)  # of all families, besides their own
    searcher: Annotated[RandomConfig | GridConfig | TpeConfig, Field(discriminator="kind")] = RandomConfig()
    scheduler: Annotated[NoSchedulerConfig | AshaConfig | MedianConfig, Field(discriminator="kind")] = NoSchedulerConfig()
    budget: BudgetConfig = BudgetConfig()
    confirm: ConfirmConfig = ConfirmConfig()
    metric: str = (
        "auto"  # what trials are ranked by, of their tuning episodes; auto: tune/normalised, or the return without expert
    )
    tuning_episodes: int = Field(default=20, ge=2)  # that a trial is scored on
    looks: int = Field(default=4, ge=1)  # scores of a trial, evenly over its budget, the last one at its end
    seed: int = Field(default=0, ge=0)  # of the search and of its trials; confirmations have the following ones
    concurrent: int | Literal["auto"] = "auto"  # trials at a time; auto: as many as the cores (of the cluster, if any) hold
    retries: int = Field(default=2, ge=0)  # of a trial whose process dies
    runs: str = "runs"  # the sweep's folder is RUNS/NAME

    @field_validator("concurrent")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if value != "auto" and int(value) < 1:
            raise ValueError("should be at least 1, or auto")
        return value

    @property
    def by_labels(self) -> bool:
        """Whether labels are a second objective, beside the score."""
        return isinstance(self.searcher, TpeConfig) and self.searcher.labels

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(self.runs) / self.name

    def space(self, family: str, algorithm: str) -> dict[str, Distribution]:
        """Return what varies in a family, whose algorithm has that kind; ValueError if nothing does, or without an end.

        What a family sets does not vary in it unless its own `search` says so; what the sweep sets is not taken from the space
        that ships.
        """
        own, its = self.families[family].search, self.families[family].set
        if own == "default":
            if algorithm not in DEFAULTS:
                raise ValueError(f"families.{family}.search=default: no space ships for algorithm.kind={algorithm}: give keys")
            shipped = DEFAULTS[algorithm].items()
            own = {key: validate(Distribution, value) for key, value in shipped if key not in {**self.set, **its}}
        found = {**{key: value for key, value in self.search.items() if key not in its}, **own}
        if not found:
            raise ValueError("nothing varies: give keys under search")
        if isinstance(self.searcher, GridConfig):
            grid_size(found)
        return found

    @model_validator(mode="after")
    def _grid_needs_its_values(self) -> Self:
        if isinstance(self.searcher, GridConfig):
            for name, family in self.families.items():
                if family.search == "default":
                    raise ValueError(
                        f"families.{name}.search: a grid needs values that can be counted: give keys with grid or choice"
                    )
        return self


def load_sweep(source: str | Path, overrides: dict[str, Any] | None = None) -> SweepConfig:
    """Return the sweep of a file, a sweep's folder, or a shipped one, with dotted overrides.

    Raises:
        InputError: it names every unknown key and every wrong value.
    """
    raw, path = SWEEPS.load(source), Path(source)
    if (path / SWEEPS.kept).is_file():  # it may have been moved
        raw |= {"name": path.absolute().name, "runs": str(path.parent)}
    return validate(SweepConfig, apply_overrides(raw, overrides or {}, SweepConfig), where=str(source))

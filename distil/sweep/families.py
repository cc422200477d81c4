"""The families of a sweep, checked together, and the configuration of each of their trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distil.config import apply_overrides, nearest, public, validate
from distil.errors import InputError
from distil.resume import run_settings
from distil.runconfig import RunConfig, load_config
from distil.sweep.config import FamilyConfig, SweepConfig
from distil.sweep.space import Space, Values
from distil.tracking import flatten

METRICS = ("tune/normalised", "tune/return_mean", "tune/return_iqm", "tune/success_rate", "tune/wasserstein")
_SMALLER_IS_BETTER = ("tune/wasserstein",)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family: its configuration without what varies, and what does."""

    name: str
    config: RunConfig
    space: Space


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What trials are ranked by."""

    name: str
    sign: float  # times the metric is larger for better trials

    @property
    def held_out(self) -> str:
        """Its name on the held-out episodes."""
        return self.name.replace("tune/", "eval/")

    @staticmethod
    def of(name: str) -> Metric:
        """Return the metric of that name."""
        return Metric(name=name, sign=-1.0 if name in _SMALLER_IS_BETTER else 1.0)


def families(sweep: SweepConfig) -> list[Family]:
    """Return the families.

    Raises:
        InputError: a recipe is wrong, a key that varies does not exist or takes no such value, a space has no end, or the
            families are of different environments or experts.
    """
    found = [_family(sweep, name, config) for name, config in sweep.families.items()]
    first = found[0]
    for family in found[1:]:
        for part in ("env", "expert"):
            if getattr(family.config, part) != getattr(first.config, part):
                raise InputError(
                    f"families {first.name} and {family.name} have different {part}: a sweep compares runs of one environment "
                    f"and expert; set them alike with set: {{{part}: ...}}"
                )
    return found


def _family(sweep: SweepConfig, name: str, own: FamilyConfig) -> Family:
    config = _base(sweep, name, own)
    _require_no_passwords(config, f"families.{name}")
    if config.env is None:
        raise InputError(f"families.{name}: a sweep scores policies, and there is no environment: set env.id")
    if config.algorithm.needs.backend == "rllib":
        raise InputError(
            f"families.{name}: algorithm.backend=rllib is not swept: use backend=distil, or Tune's own API with RLlib"
        )
    try:
        space = sweep.space(name, config.algorithm.kind)
    except ValueError as error:
        raise InputError(f"families.{name}: {error}") from None
    known = list(run_settings(config))
    for key, distribution in space.items():
        if not any(setting == key or setting.startswith(f"{key}.") or key.startswith(f"{setting}.") for setting in known):
            raise InputError(f"families.{name}.search: unknown key {key}{nearest(key, known)}")
        for value in distribution.ends:
            where = f"families.{name}.search.{key}={value}"
            _require_no_passwords(trial_config(sweep, config, {key: value}, where=where), f"families.{name}.search")
    return Family(name=name, config=config, space=space)


def _base(sweep: SweepConfig, name: str, own: FamilyConfig) -> RunConfig:
    """Return the configuration of a family's runs, apart from what varies and from how they are scored.

    The runs' demonstrations, baselines and labels are in the sweep's folder.
    """
    overrides: dict[str, Any] = {
        "data.path": str(sweep.folder / "demos"),
        "rollouts.num_workers": 0,
        **sweep.set,
        **own.set,
        "name": sweep.name,
        "runs": str(sweep.folder),
        "seed": sweep.seed,
        "evaluation.episodes": 0,
        "evaluation.video": False,
    }
    try:
        return load_config(own.recipe or sweep.recipe, overrides).pinned()
    except InputError as error:
        raise InputError(f"families.{name}: {error}") from None


def trial_cpus(found: Sequence[Family]) -> int:
    """Return how many CPUs a trial needs: for its own process, and for each of its workers and learners."""
    return 1 + max(_num_actors(family.config) for family in found)


def _num_actors(config: RunConfig) -> int:
    workers = config.rollouts.num_workers
    return (0 if workers == "auto" else int(workers)) + config.learner.num_learners


def _require_no_passwords(config: RunConfig, where: str) -> None:
    """Raise InputError if a trial would need a password: its settings are written down for the process that runs it.

    That of MLflow is no trial's business: the sweep's own process sends what they record.
    """
    whole, written = flatten(config.model_dump(mode="json")), flatten(public(config))
    for key, value in written.items():
        if value != whole[key] and key != "tracking.uri":
            raise InputError(
                f"{where}: {key}={value}: passwords are never written, and the settings of trials are: have it read from an "
                "environment variable instead"
            )


def trial_config(
    sweep: SweepConfig, base: RunConfig, values: Values, *, where: str, more: Mapping[str, Any] | None = None
) -> RunConfig:
    """Return the configuration of a run of a family, scored as the sweep says.

    Args:
        sweep: the sweep.
        base: the family's configuration.
        values: what varies.
        where: named in errors.
        more: further overrides, which come last.

    Raises:
        InputError: the values are wrong.
    """
    data = base.model_dump(mode="json")
    try:
        config = validate(RunConfig, apply_overrides(data, {**values, **(more or {})}, RunConfig))
        scored = config.algorithm.scored(sweep.tuning_episodes, sweep.looks, config.budget())
        return validate(RunConfig, apply_overrides(config.model_dump(mode="json"), scored, RunConfig))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def metric_of(sweep: SweepConfig, found: Sequence[Family], *, has_successes: bool) -> Metric:
    """Return what trials are ranked by.

    Raises:
        InputError: a family of the sweep does not measure it.
    """
    scored = all(family.config.budget().baselines and family.config.expert is not None for family in found)
    name = sweep.metric
    if name == "auto":
        return Metric.of("tune/normalised" if scored else "tune/return_mean")
    if name not in METRICS:
        raise InputError(f"metric={name}: no run is scored by that{nearest(name, list(METRICS))}; one of {', '.join(METRICS)}")
    if name == "tune/normalised" and not scored:
        raise InputError("metric=tune/normalised needs a score of the expert: set expert.kind, or metric=tune/return_mean")
    if name == "tune/success_rate" and not has_successes:
        raise InputError("metric=tune/success_rate: the environment reports no success; use metric=tune/return_mean")
    if name == "tune/wasserstein":
        for family in found:
            if not family.config.algorithm.needs.acts:
                raise InputError(
                    f"metric=tune/wasserstein: family {family.name} does not measure it, only imitation by interaction does: "
                    "use metric=auto, or remove the family"
                )
    return Metric.of(name)

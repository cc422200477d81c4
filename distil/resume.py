"""Which run to continue: the one that is named, or the unfinished one with the same configuration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from distil.config import public
from distil.errors import InputError
from distil.fence import held_ones
from distil.runconfig import RunConfig, load_config
from distil.rundir import RunDir
from distil.tracking import flatten

_ROLLOUTS = ("rollouts.num_workers", "rollouts.service", "rollouts.address", "rollouts.start_timeout_s")
_MAY_CHANGE = (*_ROLLOUTS, "tracking.", "evaluation.video", "expert.paid", "runs", "algorithm.reward.path")
"""Keys that a resumed run may change: they say where and how it runs and is measured, not what it learns.

A reward that is given is known by its digest."""
_SHOWN = 3  # runs in one message


def run_to_continue(config: RunConfig, recipe: str | Path, name: str | None) -> RunDir | None:
    """Return the run that `--resume` continues; None: `name` does not exist yet and is to be started.

    Args:
        config: the resolved configuration.
        recipe: where it is from. A run's folder is that run; a run's config.yaml is preferred among several candidates.
        name: of the run's folder.

    Raises:
        InputError: no run has this configuration, several have it, or the named one has another.
    """
    folder = Path(recipe)
    if RunDir(folder).config.is_file():
        if name is not None:
            raise InputError(f"{folder} and --run {name} are two runs: give one of them")
        return _require_same(RunDir(folder), config)
    if name is not None:
        run = RunDir.named(Path(config.runs), name)
        return _require_same(run, config) if run.config.is_file() else None
    runs = RunDir.all(Path(config.runs), config.name)
    own = next((run for run in runs if run.config.resolve() == folder.resolve()), None)
    if own is None and folder.name == "config.yaml" and RunDir(folder.parent).is_run:
        own = RunDir(folder.parent)
        runs.append(own)
    return _by_configuration(config, runs, own)


def _by_configuration(config: RunConfig, runs: Sequence[RunDir], own: RunDir | None) -> RunDir:
    if not runs:
        raise InputError(f"{Path(config.runs) / config.name}-*: no run to resume; start it without --resume")
    changes = {run.path: _changes(run, config) for run in runs}
    same = [run for run in runs if not changes[run.path]]
    if not same:
        others = sorted((run for run in runs if not run.is_finished), key=lambda run: len(changes[run.path])) or runs[-1:]
        shown = "; ".join(f"{run.path}: {', '.join(changes[run.path])}" for run in others[:_SHOWN])
        more = f"; and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise InputError(f"cannot resume with other settings: {shown}{more}; set them back, or start without --resume")
    unfinished = [run for run in same if not run.is_finished]
    if own is not None and own in unfinished:
        return own
    if len(unfinished) > 1:
        held = held_ones([run.path for run in unfinished])
        idle = [run for run in unfinished if run.path not in held]
        if len(idle) > 1:
            raise InputError(
                f"{len(idle)} unfinished runs have this configuration: {_listed(idle)}; choose one with --run NAME"
            )
        unfinished = idle or unfinished
    return (unfinished or same)[-1]


def _require_same(run: RunDir, config: RunConfig) -> RunDir:
    refused = _changes(run, config)
    if refused:
        raise InputError(
            f"{run.path}: cannot resume with other settings: {', '.join(refused)}; set them back, or start without --resume"
        )
    return run


def _changes(run: RunDir, config: RunConfig) -> list[str]:
    """Return what a run may not change and would, such as `seed (0 then, 1 now)`."""
    try:
        then = _settings(run)
    except InputError as error:
        return [f"its configuration cannot be read ({error})"]
    now = run_settings(config)
    changed = [key for key in sorted(then.keys() | now.keys()) if then.get(key) != now.get(key)]
    return [f"{key} ({then.get(key)} then, {now.get(key)} now)" for key in changed if not key.startswith(_MAY_CHANGE)]


def run_settings(config: RunConfig) -> dict[str, str]:
    """Return dotted key -> text of all settings of a run."""
    return flatten(public(config))


def _settings(run: RunDir) -> Mapping[str, str]:
    return run_settings(load_config(run.config))


def _listed(runs: Sequence[RunDir]) -> str:
    """Return the runs with what tells them apart: rounds done, start, and the settings in which they differ."""
    settings = [_settings(run) for run in runs]
    keys = sorted(set().union(*settings))
    differing = [key for key in keys if len({found.get(key) for found in settings}) > 1]
    texts = []
    for run, found in zip(runs, settings, strict=True):
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.config.stat().st_mtime))
        facts = [f"{len(run.reports())} rounds", f"started {started}", *(f"{key}={found.get(key)}" for key in differing)]
        texts.append(f"{run.name} ({', '.join(facts)})")
    return ", ".join(texts)

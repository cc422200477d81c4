"""What a run is refused for before anything starts: each function raises InputError, and none makes a run or a store."""

from __future__ import annotations

import os
from pathlib import Path

from distil.envs import EnvSpec
from distil.errors import InputError
from distil.learners import check_device
from distil.rehearsal import rehearse
from distil.rollouts import as_it_is
from distil.runconfig import RunConfig
from distil.store import Store, StoreSpec


def check_parts(config: RunConfig, spec: EnvSpec) -> None:
    """Check algorithm, policy, gate and augmentations against the environment.

    Raises:
        InputError: one of them does not fit the environment's spaces or episode limit.
    """
    config.algorithm.build(config.budget(spec.max_episode_steps))
    policy = config.policy.resolve(spec.observation, spec.action)
    if policy.targets:
        from distil.policies.check import try_out

        try_out(policy, spec.observation, spec.action, supervised=config.algorithm.objective.kind == "supervised")
    for where, act in (("evaluation", config.evaluation.act), ("algorithm", config.algorithm.needs.act)):
        if act == "sample" and policy.head.kind == "deterministic" and policy.ensemble == 1:
            raise InputError(
                f"{where}.act=sample: policy.head.kind=deterministic has one action a state; set {where}.act=point"
            )
    if config.gate is not None:
        config.gate.check(spec.action.leaf)
    for augmentation in config.learner.augment:
        augmentation.check(spec.observation)


def check_new_run(config: RunConfig, spec: EnvSpec) -> None:
    """Check what only a new run needs, before it has a folder, a store or an MLflow run; see also `rehearse`, `check_data`.

    Raises:
        InputError: a user's class fails on random data, the store has too few demonstrations, torch lacks the device, or
            the tracker cannot be reached.
    """
    rehearse(config, spec)
    check_data(config, spec)
    if config.data.mixture is None and config.budget().num_demonstrations is None:
        as_it_is(Store.open(config.store_path), config.data.select, config.data.episodes)
    check_device(config.learner)
    config.tracking.build(config.name).check()


def check_data(config: RunConfig, spec: EnvSpec) -> None:
    """Check the run's stores against the environment.

    Raises:
        InputError: a store is missing with no expert to fill it, has other spaces, or, where the run adds episodes, is of
            another environment or lacks wanted infos; or no folder can be made in its place.
    """
    mixture, path = config.data.mixture, config.store_path
    if mixture is not None:
        part = mixture.resolve()[0]
        part.spec.require_spaces(spec.observation, spec.action, str(part.path))
    elif Store.exists(path):
        _check_spec(Store.open(path).spec, config, spec)
    elif config.budget().num_demonstrations is None:
        raise InputError(f"{path}: no store there, and no expert to fill it: set data.path or expert.kind")
    elif isinstance(path, Path):
        _require_place(path)


def adds_episodes(config: RunConfig) -> bool:
    """Return whether the run adds episodes to its store."""
    return config.budget().num_demonstrations is not None or config.algorithm.needs.collects


def store_spec(config: RunConfig, spec: EnvSpec) -> StoreSpec:
    """Return what a store that the run adds to must be like.

    Where its demonstrations may suffice, it need not have `rollouts.infos`: the collector asks for them when it collects.
    """
    env = config.env.model_dump(mode="json") if config.env is not None else {}
    is_certain = config.algorithm.needs.collects or not Store.exists(config.store_path)
    infos = config.rollouts.infos if is_certain else ()
    return StoreSpec(observation=spec.observation, action=spec.action, infos=infos, env=env)


def _check_spec(found: StoreSpec, config: RunConfig, spec: EnvSpec) -> None:
    if adds_episodes(config):
        found.require_equal(store_spec(config, spec), str(config.store_path))
    else:
        found.require_spaces(spec.observation, spec.action, str(config.store_path))


def _require_place(path: Path) -> None:
    """Raise InputError where no folder can be made."""
    absolute = path.absolute()
    nearest = next(folder for folder in (absolute, *absolute.parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise InputError(f"{path}: {nearest} is a file; choose another folder with data.path")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{path}: {nearest} is not writable; choose another folder with data.path")

"""What a run is refused for before anything starts: each function raises InputError, and none makes a run or a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distil.envs import EnvSpec
from distil.errors import InputError
from distil.learners import check_device
from distil.learners.data import require_chunks
from distil.rehearsal import rehearse
from distil.rollouts import as_it_is, given_demonstrations
from distil.runconfig import RunConfig
from distil.store import Snapshot, Store, StoreSpec
from distil.types import Array

_LOOKED_AT = 8  # episodes whose final observations are compared


def check_parts(config: RunConfig, spec: EnvSpec) -> None:
    """Check algorithm, policy, gate and augmentations against the environment, without making a network.

    Raises:
        InputError: one of them does not fit the environment's spaces or episode limit.
    """
    config.algorithm.build(config.budget(spec.max_episode_steps))
    policy = config.policy.resolve(spec.observation, spec.action)
    if policy.targets:
        from distil.policies.check import try_out

        try_out(policy, spec.observation, spec.action, supervised=config.algorithm.objective.kind == "supervised")
    if spec.max_episode_steps is not None and policy.chunk > spec.max_episode_steps:
        raise InputError(
            f"policy.chunk={policy.chunk} is longer than an episode of {spec.name}, which ends after {spec.max_episode_steps} "
            "steps: lower it"
        )
    for where, act in (("evaluation", config.evaluation.act), ("algorithm", config.algorithm.needs.act)):
        if act == "sample" and policy.head.kind in ("deterministic", "two_step") and policy.ensemble == 1:
            fix = "leave policy.head.kind at auto" if config.algorithm.needs.acts else f"set {where}.act=point"
            raise InputError(f"{where}.act=sample: policy.head.kind={policy.head.kind} has one action a state; {fix}")
    if config.gate is not None:
        config.gate.check(spec.action.leaf)
    for augmentation in config.learner.augment:
        augmentation.check(spec.observation)


def check_new_run(config: RunConfig, spec: EnvSpec) -> None:
    """Check what only a new run needs, before it has a folder, a store or an MLflow run; see also `rehearse`, `check_data`.

    Raises:
        InputError: the objective does not fit algorithm or policy, a user's class fails on random data, the store has too few
            demonstrations, or ones that the objective cannot learn from, or torch lacks the device.
    """
    needs = rehearse(config, spec)
    check_data(config, spec)
    is_given = config.algorithm.needs.demonstrations and config.budget().num_demonstrations is None
    if is_given and config.data.mixture is None:
        as_it_is(Store.open(config.store_path), config.data.select, config.data.episodes)
    if is_given and config.algorithm.objective.kind == "supervised":
        parts = _given(config)
        require_chunks(parts, config.policy.chunk)
        if config.policy.actions.kind == "absolute":
            _require_different_labels(parts)
    if needs.get("demos", {}).get("n_step") is not None:
        for given in _given(config):
            check_transitions(given)
            config.algorithm.check_demonstrations(given.episodes)
    check_device(config.learner)


def check_transitions(demonstrations: Snapshot) -> None:
    """Check that demonstrations show what follows from an expert's actions: an objective learns from their transitions.

    Raises:
        InputError: somebody else acted in an episode, all have a single step, or their final observations are copies.
    """
    path, index = demonstrations.path, demonstrations.episodes
    others = np.flatnonzero(index.num_acted_by_expert < index.length)
    if len(others):
        learned = (index.policy_version[others] >= 0).all()
        fix = "data.select.max_policy_version=-1" if learned else "data.select.sources, such as expert:*"
        raise InputError(
            f"{path}: in {len(others)} of {len(index)} episodes somebody other than the expert acted "
            f"({index.source[others[0]]}), and what is imitated here is who acted, not the labels: set {fix}"
        )
    if len(index) and index.length.max() == 1:
        raise InputError(
            f"{path}: each of its {len(index)} demonstrations has a single step, so nothing follows from an action: give "
            "complete episodes"
        )
    if _ends_are_copies(demonstrations):
        raise InputError(
            f"{path}: the last observation of each demonstration is a copy of the one before it, so its last action seems to "
            "change nothing: import it again with final_observation=drop"
        )


def _require_different_labels(parts: Sequence[Snapshot]) -> None:
    """Raise InputError if all labels are the same; it looks at episodes only until two differ."""
    first: Array | None = None
    for part in parts:
        for number in range(part.num_episodes):
            episode = part.episode(number)
            labels = episode.expert_actions[episode.labelled == 1]
            first = labels[0] if first is None and len(labels) else first
            if first is not None and (labels != first).any():
                return
    if first is not None:
        raise InputError(
            f"{parts[0].path}: all labels are the same action, {first.tolist()}, so there is nothing to learn: give "
            "demonstrations that act differently, or check which column was imported as the action"
        )


def _ends_are_copies(demonstrations: Snapshot) -> bool:
    """Return whether the final observations of the first episodes were made up, as some importers do."""
    chosen = np.flatnonzero(demonstrations.episodes.length > 1)[:_LOOKED_AT]
    for number in chosen.tolist():
        leaves = demonstrations.episode(number).observations.values()
        stays = np.logical_and.reduce([(rows[1:] == rows[:-1]).reshape(len(rows) - 1, -1).all(1) for rows in leaves])
        if not stays[-1] or stays[:-1].any():  # an expert that waits repeats observations, too
            return False
    return len(chosen) > 0


def _given(config: RunConfig) -> list[Snapshot]:
    """Return the demonstrations that a run finds in its stores."""
    if config.data.mixture is not None:
        return config.data.mixture.resolve()
    if not Store.exists(config.store_path):
        return []
    store, select = Store.open(config.store_path), config.data.select
    snapshot, wanted = store.snapshot(), config.budget().num_demonstrations
    if wanted is None and config.data.episodes is None:
        return [select.resolve(snapshot)]
    if wanted is None:
        uids = as_it_is(store, select, config.data.episodes).uids
    else:
        uids = given_demonstrations(snapshot, select, wanted)
    return [snapshot.select(np.flatnonzero(np.isin(snapshot.episodes.uid, list(uids))))] if uids else []


def check_data(config: RunConfig, spec: EnvSpec) -> None:
    """Check the run's stores against the environment.

    Raises:
        InputError: a store is missing with no expert to fill it, has other spaces, or, where the run adds episodes, is of
            another environment or lacks wanted infos; or no folder can be made in its place.
    """
    if not config.algorithm.needs.demonstrations:
        return
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

"""A user's own objective, tried on made-up data before a run starts.

What is wrong with an imported class is named here, in one line, and not after hours of collecting.

Legend: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from distil.envs import EnvSpec
from distil.errors import InputError
from distil.learners.data import Streams, TrainingData, open_sources
from distil.objectives.base import Objective, ObjectiveState
from distil.runconfig import RunConfig
from distil.store import Snapshot, Store, StoreSpec
from distil.store.order import SampleSource
from distil.store.reading import Reader
from distil.store.windows import WindowOptions
from distil.types import Batch, Episode

T = TypeVar("T")
_EPISODES, _STEPS, _BATCH = 4, 6, 3


def rehearse(config: RunConfig, spec: EnvSpec) -> Mapping[str, WindowOptions]:
    """Make the objective of `config`, and try it on random observations and actions if it is imported.

    Returns:
        What it reads of each stream; nothing for the policy's own loss on demonstrations, which needs no rehearsal.

    Raises:
        InputError: the objective does not fit the algorithm or the policy; or a part of it raises, or returns what has another
            type or shape than the interface says.
    """
    chosen = config.algorithm.objective
    if chosen.kind == "supervised":
        return {}
    import torch

    with torch.random.fork_rng(devices=[]):
        objective = _made(config, spec)
        if chosen.kind != "import":
            _require_streams(config, spec, objective.needs)
            return objective.needs
        with TemporaryDirectory(prefix="distil-rehearsal-") as folder:
            return _try_objective(objective, config, spec, chosen.target, Path(folder))


def _made(config: RunConfig, spec: EnvSpec) -> Objective:
    from distil.objectives.ranks import ALONE
    from distil.policies.policy import Policy

    policy = Policy(config.policy, spec.observation, spec.action)
    return config.objective.build(policy, config.learner.model_copy(update={"compile": False}), ALONE)


def _require_streams(config: RunConfig, spec: EnvSpec, needs: Iterable[str]) -> None:
    """Raise InputError if the first update lacks a stream that the objective needs."""
    first = config.algorithm.build(config.budget(spec.max_episode_steps)).next_round(None)
    if first is not None and first.update is not None and first.update.num_steps:
        for name in needs:
            if name not in first.update.streams:
                raise InputError(
                    f"algorithm.objective.kind={config.algorithm.objective.kind} learns from the stream {name!r}, which "
                    f"algorithm.kind={config.algorithm.kind} does not give it: choose another algorithm, such as sqil or dac"
                )


def _try_objective(
    objective: Objective, config: RunConfig, spec: EnvSpec, target: str, folder: Path
) -> Mapping[str, WindowOptions]:
    """Call each method of the objective as a learner does, in the order of an update, on the streams of the first plan."""
    name = f"algorithm.objective {target}"
    call = partial(_call, name)
    needs: Mapping[str, WindowOptions] = _mapping(name, "needs", call("needs", lambda: objective.needs))
    streams = _streams(config, spec, folder, needs)
    with closing(Reader(config.learner.read)) as reader:
        opened = call("needs", lambda: open_sources(streams, needs, reader, validation_fraction=0, seed=0))
        sources = opened.training
        call("fit_statistics", lambda: objective.fit_statistics(sources))
        prepared = _mapping(name, "prepare", call("prepare", lambda: objective.prepare(sources)), required=needs)
        batches = call("prepare", lambda: {key: _batch(source) for key, source in prepared.items()})
    _try_steps(objective, batches, name)
    return needs


def _try_steps(objective: Objective, batches: Mapping[str, Batch], name: str) -> None:
    """Validate, which shows the shape of the loss, take a step, and put the state back."""
    import torch

    from distil.objectives.gradient import GradientObjective
    from distil.policies.policy import Policy

    call = partial(_call, name)
    call("begin", lambda: objective.begin(1))
    call("reseed", lambda: objective.reseed(0))
    evaluated = call("evaluation_policy", objective.evaluation_policy)
    _require(f"{name}: evaluation_policy", evaluated, Policy)
    generator, method = torch.Generator(), "loss" if isinstance(objective, GradientObjective) else "validate"
    with torch.inference_mode():
        loss_B = call(method, lambda: objective.validate(evaluated, next(iter(batches.values())), generator))
    _require_shape(f"{name}: {method} returned", loss_B, (_BATCH,), "[B] =")
    for key, value in _mapping(name, "step", call("step", lambda: objective.step(batches))).items():
        _require_shape(f"{name}: step returned as {key!r}", value, (), "a scalar tensor,")
    _mapping(name, "figures", call("figures", objective.figures))
    state = call("state_dict", objective.state_dict)
    _require(f"{name}: state_dict", state, ObjectiveState)
    call("load_state_dict", lambda: objective.load_state_dict(state))
    call("restore_policy", lambda: objective.restore_policy(evaluated.state_dict()))


def _batch(source: SampleSource) -> Batch:
    from distil.objectives.ranks import ALONE
    from distil.objectives.tensors import to_torch

    return to_torch(next(source.batches(batch_size=_BATCH, seed=0)), ALONE.device)


def _streams(config: RunConfig, spec: EnvSpec, folder: Path, needs: Iterable[str]) -> Streams:
    """Return random episodes for each stream of the first round's update; without one, for each that the objective needs."""
    first = config.algorithm.build(config.budget(spec.max_episode_steps)).next_round(None)
    names = first.update.streams if first is not None and first.update is not None else needs
    return dict.fromkeys(names, TrainingData(parts=(_store(folder / "store", spec),)))


def _store(path: Path, spec: EnvSpec) -> Snapshot:
    """Return a store of random episodes."""
    from distil.policies.check import random_values

    rng = np.random.default_rng(0)
    store = Store.create(path, StoreSpec(observation=spec.observation, action=spec.action))
    writer = store.writer("rehearsal")
    for number in range(_EPISODES):
        actions = random_values(spec.action.leaf, _STEPS, rng)
        writer.add(
            Episode(
                observations={leaf.name: random_values(leaf, _STEPS + 1, rng) for leaf in spec.observation.leaves},
                actions=actions,
                rewards=rng.normal(size=_STEPS),
                terminated=number % 2 == 0,
                truncated=number % 2 == 1,
                expert_actions=actions,
                labelled=np.ones(_STEPS, np.uint8),
                acted_by_expert=np.ones(_STEPS, np.uint8),
                uid=f"rehearsal-{number}",
            )
        )
    entry = writer.seal()
    assert entry is not None
    return store.commit([entry])


def _call(name: str, method: str, call: Callable[[], T]) -> T:
    """Return what `call` returns; whatever it raises becomes one line."""
    try:
        return call()
    except InputError:
        raise
    except Exception as error:  # the user's own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{name}: {method} failed on random data: {reason}; fix the class") from error


def _require(what: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise InputError(f"{what} returned {type(value).__name__}, required: {kind.__module__}.{kind.__name__}; fix the class")


def _mapping(name: str, method: str, value: Any, required: Iterable[str] = ()) -> Mapping[str, Any]:
    """Return `value` if it is a mapping that has the keys `required`."""
    _require(f"{name}: {method}", value, Mapping)
    if missing := [key for key in required if key not in value]:
        raise InputError(f"{name}: {method} returned no {missing[0]!r}; fix the class")
    return value  # type: ignore[no-any-return]


def _require_shape(what: str, value: object, expected: tuple[int, ...], axes: str) -> None:
    found = getattr(value, "shape", None)
    if found is None or tuple(found) != expected:
        shown = type(value).__name__ if found is None else f"the shape {list(found)}"
        raise InputError(f"{what} {shown}, required: {axes} {list(expected)}; fix the class")

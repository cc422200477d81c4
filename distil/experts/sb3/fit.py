"""Checks that a Stable-Baselines3 policy fits an environment, and orders the observations as its network expects them."""

from __future__ import annotations

import dataclasses

import numpy as np

from distil.errors import InputError
from distil.experts.inputs import Statistics, width
from distil.experts.sb3.architecture import Architecture
from distil.experts.sb3.archive import Archive
from distil.experts.sb3.settings import FIX
from distil.spaces import Leaf, SpaceSpec

TIME_LEAVES = ("obs", "obs/observation")  # where the time feature is appended: the vector, or that key of a Dict
_HER_KEYS = ("obs/observation", "obs/desired_goal")  # HER of Stable-Baselines3 < 1.1 concatenated these into one vector


def fit(
    name: str,
    archive: Archive,
    architecture: Architecture,
    has: tuple[SpaceSpec, SpaceSpec],
    statistics: Statistics | None,
    *,
    time: bool,
) -> tuple[Leaf, ...]:
    """Return the leaves of the environment's observations in the order in which they enter the network.

    Args:
        name: the expert's name.
        archive: the model, with the spaces that it was trained on.
        architecture: the policy's network.
        has: the environment's observation and action spaces.
        statistics: the statistics of VecNormalize, or None.
        time: whether the policy also observes the time.

    Raises:
        InputError: the policy was trained on other spaces (both are named), or on spaces that are not supported.
    """
    trained = archive.observation(), archive.action()
    if any(leaf.is_image for space in (has[0], trained[0]) for leaf in space.leaves):
        raise InputError(f"expert {name}: images ({has[0].describe()}) aren't supported; {FIX}")
    if time and _timed(has[0]) is None:
        raise InputError(f"expert {name}: a time feature needs a Box vector; the environment has {has[0].describe()}")
    leaves = _inputs(archive, trained[0], has[0], time=time)
    theirs = f"made for {_describe(trained, architecture)}"
    fault = f"expert {name}: {theirs}; the environment has {_described(has, has[0].leaves)}; choose an expert for it"
    if leaves is None or not _same(trained[1].leaf, has[1].leaf):
        if not time and _inputs(archive, trained[0], has[0], time=True):
            fault += ", or set expert.time_feature=on if it was trained with the time as its last observation"
        raise InputError(fault)
    if any(leaf.start for leaf in (*leaves, has[1].leaf)):
        raise InputError(f"expert {name}: Stable-Baselines3 counts choices from 0, not from the space's start; {FIX}")
    wrong_size = architecture.network.num_inputs != sum(map(width, leaves)) + time
    wrong_size |= architecture.network.num_outputs != _num_outputs(has[1].leaf) * architecture.num_quantiles
    if wrong_size or (architecture.output == "best") == (has[1].leaf.kind == "box"):
        raise InputError(f"expert {name}: {theirs}: its network does not match the spaces in its settings; save it again")
    _check_bounds(name, architecture, trained[1].leaf, has[1].leaf)
    _check_statistics(name, archive, leaves, statistics, time=time)
    return leaves


def _timed(has: SpaceSpec) -> Leaf | None:
    """Return the vector that the time feature is appended to."""
    found = next((leaf for leaf in has.leaves if leaf.name in TIME_LEAVES), None)
    return found if found and found.kind == "box" and len(found.shape) == 1 else None


def _inputs(archive: Archive, trained: SpaceSpec, has: SpaceSpec, *, time: bool) -> tuple[Leaf, ...] | None:
    """Return the environment's leaves in the network's order; None if the model was trained on other leaves."""
    own = {leaf.name: leaf for leaf in has.leaves}
    longer = _timed(has) if time else None
    if _is_old_her(archive) and set(_HER_KEYS) <= own.keys() and not time:
        leaves = tuple(own[key] for key in _HER_KEYS)
        size = sum(map(width, leaves))
        return leaves if trained.tree == "obs" and trained.leaf.kind == "box" and trained.leaf.shape == (size,) else None
    if own.keys() != {leaf.name for leaf in trained.leaves}:
        return None
    leaves = tuple(own[leaf.name] for leaf in trained.leaves)
    seen = (_longer(leaf) if leaf is longer else leaf for leaf in leaves)
    return leaves if time == (longer is not None) and all(map(_same, trained.leaves, seen)) else None


def _same(trained: Leaf, has: Leaf) -> bool:
    """Return whether two leaves hold the same numbers; bounds, the width of floats and a start may differ."""
    return (trained.kind, trained.shape, trained.nvec) == (has.kind, has.shape, has.nvec)


def _longer(leaf: Leaf) -> Leaf:
    return dataclasses.replace(leaf, shape=(leaf.shape[0] + 1,))


def _describe(spaces: tuple[SpaceSpec, SpaceSpec], architecture: Architecture) -> str:
    sizes = f"({architecture.network.num_inputs} network inputs)", f"({architecture.network.num_outputs} network outputs)"
    return f"observations {spaces[0].describe()} {sizes[0]}, actions {spaces[1].describe()} {sizes[1]}"


def _described(spaces: tuple[SpaceSpec, SpaceSpec], leaves: tuple[Leaf, ...]) -> str:
    num_inputs = sum(map(width, leaves))
    return f"observations {spaces[0].describe()} ({num_inputs} network inputs), actions {spaces[1].describe()}"


def _check_bounds(name: str, architecture: Architecture, trained: Leaf, has: Leaf) -> None:
    """Refuse an environment whose actions have other units than those of the policy's training."""
    if has.kind != "box":
        return
    theirs, ours = trained.bounds(), has.bounds()
    if not all(np.allclose(a, b, rtol=1e-5) for a, b in zip(theirs, ours, strict=True)):
        ranges = [f"{low.min():g} to {high.max():g}" for low, high in (theirs, ours)]
        raise InputError(
            f"expert {name}: trained with actions from {ranges[0]}; those of the environment are from {ranges[1]}; "
            "add or remove the wrapper that rescales them"
        )
    if architecture.output == "tanh" and not all(np.isfinite(bound).all() for bound in ours):
        raise InputError(f"expert {name}: rescales to the action bounds, but the environment has none; add a bounding wrapper")


def _check_statistics(
    name: str, archive: Archive, leaves: tuple[Leaf, ...], statistics: Statistics | None, *, time: bool
) -> None:
    shapes = {leaf.name: _longer(leaf).shape if time and leaf.name in TIME_LEAVES else leaf.shape for leaf in leaves}
    boxes = {leaf.name for leaf in leaves if leaf.kind == "box"}
    for leaf, mean in (statistics.mean if statistics else {}).items():
        if leaf == "obs/achieved_goal" and _is_old_her(archive):
            continue  # normalised but not a network input
        assert statistics is not None
        if leaf not in boxes or mean.shape != shapes[leaf] or statistics.scale[leaf].shape != mean.shape:
            wants = ", ".join(f"{key} of shape {shape}" for key, shape in shapes.items())
            raise InputError(
                f"expert {name}: its statistics are for {leaf} of shape {mean.shape}, but its network takes {wants}; "
                "set expert.vecnormalize to the right file"
            )


def _is_old_her(archive: Archive) -> bool:
    return "model_class" in archive.data


def _num_outputs(action: Leaf) -> int:
    """Return the number of network outputs that an action needs."""
    return sum(action.nvec) if action.kind in ("discrete", "multi_discrete") else int(np.prod(action.shape))

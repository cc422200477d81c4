"""Whether a Stable-Baselines3 policy fits an environment: kinds and sizes of spaces, statistics, bounds."""

from __future__ import annotations

import numpy as np

from distil.errors import InputError
from distil.experts.sb3.archive import Archive
from distil.experts.sb3.layout import Layout
from distil.experts.sb3.vecnormalize import Statistics
from distil.spaces import Leaf, SpaceSpec

_KINDS = {"box": "Box", "discrete": "Discrete", "multi_discrete": "MultiDiscrete", "multi_binary": "MultiBinary"}


def check_fit(
    name: str,
    archive: Archive,
    layout: Layout,
    has: tuple[SpaceSpec, SpaceSpec],
    statistics: Statistics | None,
    *,
    time: bool,
) -> None:
    """Raise InputError, naming both, unless the policy fits the environment's observation and action spaces `has`.

    Args:
        name: the expert's.
        archive: what the policy's settings say of its spaces.
        layout: the policy's network.
        has: the environment's spaces.
        statistics: of VecNormalize, or None.
        time: the policy also sees the time.
    """
    observation, action = has[0], has[1].leaf
    num_inputs = sum(map(_num_inputs, observation.leaves)) + time
    theirs = f"observations {has[0].describe()} ({num_inputs} network inputs), actions {has[1].describe()}"
    fault = f"expert {name}: made for {_describe(archive, layout)}, the environment has {theirs}; choose an expert for it"
    if any(leaf.is_image for leaf in observation.leaves):
        raise InputError(
            f"expert {name}: images ({observation.describe()}) aren't supported; wrap the model as expert.kind=import"
        )
    if time and (len(observation.leaves) > 1 or observation.leaves[0].kind != "box" or len(observation.leaves[0].shape) != 1):
        raise InputError(f"expert {name}: a time feature wants one Box vector, the environment has {observation.describe()}")
    if layout.network.num_inputs == num_inputs + 1 and not time:
        raise InputError(f"{fault}, or set expert.time_feature=on if it was trained with the time as a last observation")
    wrong_kind = archive.space_kind("action_space") not in (None, _KINDS[action.kind])
    if len(observation.leaves) == 1:
        wrong_kind |= archive.space_kind("observation_space") not in (None, _KINDS[observation.leaves[0].kind])
    sizes = (layout.network.num_inputs, layout.network.num_outputs)
    wrong_size = sizes != (num_inputs, _num_outputs(action) * layout.num_quantiles)
    if wrong_kind or wrong_size or (layout.output == "best") == (action.kind == "box"):
        raise InputError(fault)
    if layout.output == "tanh" and not all(np.isfinite(bound).all() for bound in action.bounds()):
        raise InputError(
            f"expert {name}: rescales to the action's bounds, {has[1].describe()} has none; add a bounding wrapper"
        )
    _check_statistics(name, observation, statistics, time=time)


def _describe(archive: Archive, layout: Layout) -> str:
    observation, action = (archive.space_text(which) for which in ("observation_space", "action_space"))
    network = layout.network
    inputs, outputs = f"({network.num_inputs} network inputs)", f"({network.num_outputs} network outputs)"
    return f"observations {observation} {inputs}, actions {action} {outputs}".replace("  ", " ")


def _check_statistics(name: str, observation: SpaceSpec, statistics: Statistics | None, *, time: bool) -> None:
    shapes = {leaf.name: (leaf.shape[0] + time,) if time else leaf.shape for leaf in observation.leaves}
    for leaf, mean in (statistics.mean if statistics else {}).items():
        if mean.shape != shapes.get(leaf) or statistics is None or statistics.scale[leaf].shape != mean.shape:
            raise InputError(
                f"expert {name}: its statistics are for {leaf} of shape {mean.shape}, the environment has "
                f"{observation.describe()}; set expert.vecnormalize to the right file"
            )


def _num_outputs(action: Leaf) -> int:
    """Return how many network outputs an action takes."""
    return sum(action.nvec) if action.kind in ("discrete", "multi_discrete") else int(np.prod(action.shape))


def _num_inputs(leaf: Leaf) -> int:
    """Return how many network inputs an observation's leaf takes."""
    return sum(leaf.nvec) if leaf.kind in ("discrete", "multi_discrete") else int(np.prod(leaf.shape))

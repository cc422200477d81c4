"""An RLlib module as a distil policy: the same network, its weights moved.

    MeanStdFilter -> standardised features;  MLP encoder and hidden layers of the head -> encoder;  last layer -> head

A squashed Gaussian and a choice keep their distribution. A Gaussian that is clipped (PPO on Box actions) becomes its mean, a
deterministic head that clips: distil has no density outside the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.experts.network import Layer
from distil.experts.rllib.architecture import Architecture
from distil.experts.rllib.connectors import Connectors
from distil.heads.config import CategoricalConfig, DeterministicConfig, GaussianConfig
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.layout import bounded
from distil.policies.spec import PolicyRef, PolicySpec
from distil.spaces import Leaf, SpaceSpec
from distil.types import Array

_UNCLIPPED = 1e30  # a bound of observations that none reaches
_MIN_LOG_STD, _MAX_LOG_STD = -5.0, 2.0  # RLlib's MIN_LOG_NN_OUTPUT and MAX_LOG_NN_OUTPUT
_ACTIVATIONS = {"ReLU": "relu", "Tanh": "tanh", "SiLU": "silu"}


def policy_of(architecture: Architecture, connectors: Connectors, spaces: tuple[SpaceSpec, SpaceSpec]) -> PolicyRef:
    """Return the policy.

    Args:
        architecture: the module's network.
        connectors: what is between it and the environment.
        spaces: the environment's observation and action space.

    Raises:
        InputError: distil has no such network; it says which part.
    """
    observation, action = spaces
    *hidden, last = architecture.layers
    activation = _activation(hidden)
    leaves = [leaf.name for leaf in observation.leaves]
    if leaves != sorted(leaves) or any(leaf.is_image for leaf in observation.leaves):
        raise InputError(f"its network sees {observation.describe()} in another way than a distil policy")
    head, weight, bias, scaling = _head(architecture, connectors, action.leaf, last)
    config = PolicyConfig(
        encoder=MlpConfig(hidden=tuple(len(layer.weight) for layer in hidden), activation=activation),
        head=head,
        obs_clip=min(connectors.statistics.clip, _UNCLIPPED) if connectors.statistics else _UNCLIPPED,
    )
    arrays: dict[str, Array] = {"head.linear.weight": weight, "head.linear.bias": bias, **scaling}
    for index, layer in enumerate(hidden):
        assert layer.bias is not None
        arrays |= {
            f"encoder.mlp.layers.{2 * index}.{name}": value for name, value in (("weight", layer.weight), ("bias", layer.bias))
        }
    arrays |= _standardised(connectors, hidden[0].weight.shape[1])
    spec = PolicySpec(config=config.resolve(observation, action), observation=observation, action=action)
    return PolicyRef(version=0, spec=spec, arrays={name: np.asarray(value, np.float32) for name, value in arrays.items()})


def _activation(hidden: Sequence[Layer]) -> Any:
    kinds = {layer.activation for layer in hidden}
    if any(layer.norm is not None for layer in hidden):
        raise InputError("its network has layer normalisation, which a distil policy lacks")
    if len(kinds) != 1 or not kinds <= _ACTIVATIONS.keys():
        shown = ", ".join(sorted(str(kind or "linear") for kind in kinds))
        raise InputError(f"its activations are {shown}; a distil policy has one of {', '.join(_ACTIVATIONS)} after each layer")
    return _ACTIVATIONS[str(kinds.pop())]


def _head(
    architecture: Architecture, connectors: Connectors, action: Leaf, last: Layer
) -> tuple[Any, Array, Array, dict[str, Array]]:
    """Return the head's configuration, its weight and bias, and the scaling of actions."""
    assert last.bias is not None
    if architecture.output == "best":
        return CategoricalConfig(), *_padded(last, action), {}
    rescales = connectors.rescales and all(np.isfinite(bound).all() for bound in action.bounds())
    centre, half = np.zeros(action.shape), np.ones(action.shape)
    if rescales:
        if not bounded(action).all():
            raise InputError("its actions are rescaled to bounds beyond a million, which a distil policy takes for none")
        low, high = action.bounds()
        centre, half = (low + high) / 2, (high - low) / 2
    scaling = {"actions.centre": centre, "actions.half_width": half}
    if architecture.output == "tanh":
        return GaussianConfig(min_log_std=_MIN_LOG_STD, max_log_std=_MAX_LOG_STD), last.weight, last.bias, scaling
    num = architecture.num_actions
    weight, bias = last.weight[:num], last.bias[:num]
    if not rescales:  # the head clips to +-1: let that be the bounds
        if not all(np.isfinite(bound).all() for bound in action.bounds()):
            raise InputError("its actions have no bounds, and a distil policy clips its mean")
        low, high = action.bounds()
        centre, half = (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0)
        weight, bias = weight / half[:, None], (bias - centre) / half
        scaling = {"actions.centre": centre, "actions.half_width": half}
    return DeterministicConfig(bound="clip"), weight, bias, scaling


def _padded(last: Layer, action: Leaf) -> tuple[Array, Array]:
    """Return the weight and bias of a table of logits, one row a factor: missing choices are masked by the head."""
    assert last.bias is not None
    num, widest = len(action.nvec), max(action.nvec)
    weight, bias = np.zeros((num, widest, last.weight.shape[1])), np.zeros((num, widest))
    column = 0
    for factor, choices in enumerate(action.nvec):
        weight[factor, :choices] = last.weight[column : column + choices]
        bias[factor, :choices] = last.bias[column : column + choices]
        column += choices
    return weight.reshape(num * widest, -1), bias.reshape(-1)


def _standardised(connectors: Connectors, num: int) -> dict[str, Array]:
    """Return the statistics of the features: those of a MeanStdFilter, or none."""
    mean, scale = np.zeros(num), np.ones(num)
    if connectors.statistics is not None:
        mean, scale = connectors.statistics.mean["obs"], connectors.statistics.scale["obs"]
    return {"encoder.features.mean": mean, "encoder.features.inv_std": 1 / scale}

"""Builds the network of a default module, and the mapping from its outputs to actions, from its settings and parameters.

Parameter names and output steps are those of RLlib's `DefaultPPOTorchRLModule` (PPO, IMPALA), `DefaultAPPOTorchRLModule` and
`DefaultSACTorchRLModule` with their own catalogs: an MLP encoder and an MLP head. The class must be a known one and every
parameter of its actor is used: a network with more than this is refused, never read in part.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.network import ACTIVATIONS, Layer, Norm
from distil.experts.rllib.checkpoint import AGAIN, OWN, Checkpoint, Weights
from distil.types import Array

Output = Literal["identity", "tanh", "best"]  # the mean itself; squashed; argmax of each factor's logits

NAMES = {name.lower(): name for name in ACTIVATIONS} | {"swish": "SiLU"}  # RLlib's name of an activation -> ours
_EPSILON = 1e-3  # of RLlib's layer normalisation
_DEFAULTS = {
    "fcnet_hiddens": [256, 256],
    "fcnet_activation": "tanh",
    "fcnet_use_layernorm": False,
    "head_fcnet_hiddens": [],
    "head_fcnet_activation": "relu",
    "head_fcnet_use_layernorm": False,
    "free_log_std": False,
    "vf_share_layers": True,
    "use_lstm": False,
}
_SAC = ("qf", "qf_twin", "qf_encoder", "qf_twin_encoder")
_ALGORITHMS = "ray.rllib.algorithms"
_CATALOGS = {"ppo": f"{_ALGORITHMS}.ppo.ppo_catalog.PPOCatalog", "sac": f"{_ALGORITHMS}.sac.sac_catalog.SACCatalog"}
_FAMILIES = {
    f"{_ALGORITHMS}.ppo.torch.default_ppo_torch_rl_module.DefaultPPOTorchRLModule": "ppo",
    f"{_ALGORITHMS}.appo.torch.default_appo_torch_rl_module.DefaultAPPOTorchRLModule": "ppo",
    f"{_ALGORITHMS}.sac.torch.default_sac_torch_rl_module.DefaultSACTorchRLModule": "sac",
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A policy's network and the mapping from its outputs to actions."""

    encoder: tuple[Layer, ...]
    head: tuple[Layer, ...]  # outputs logits, or means and, without `log_std`, log deviations
    output: Output
    num_actions: int  # the first outputs: logits of all factors, or means
    log_std: Array | None = None  # [A], the log deviations that do not depend on the state

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers."""
        return (*self.encoder, *self.head)


def read_architecture(checkpoint: Checkpoint) -> Architecture:
    """Return the policy of a checkpoint; InputError names an unsupported part."""
    family = _FAMILIES.get(checkpoint.module)
    if family is None or checkpoint.catalog not in ("", _CATALOGS[family]):
        what = checkpoint.module if family is None else checkpoint.catalog
        raise InputError(f"{checkpoint.path}: {what[:200]} is not one of RLlib's own PPO, IMPALA, APPO or SAC networks: {OWN}")
    settings, weights = _settings(checkpoint), checkpoint.weights
    is_sac = family == "sac"
    trunk = "pi_encoder" if is_sac else f"encoder.{'encoder' if settings['vf_share_layers'] else 'actor_encoder'}"
    activation = _activation(checkpoint, "fcnet_activation", settings)
    hidden = [checkpoint.observation.shape[0], *settings["fcnet_hiddens"]]
    encoder, _ = _stack(weights, f"{trunk}.net.mlp", hidden, activation, norm=settings["fcnet_use_layernorm"])
    output, num_actions = _actions(checkpoint, squashed=is_sac)
    free = bool(settings["free_log_std"]) and output != "best"
    widths = [hidden[-1], *settings["head_fcnet_hiddens"]]
    activation = _activation(checkpoint, "head_fcnet_activation", settings)
    norm = settings["head_fcnet_use_layernorm"] and not is_sac
    head, place = _stack(weights, "pi.net.mlp", widths, activation, norm=norm)
    num_outputs = num_actions if free or output == "best" else 2 * num_actions
    head.append(_affine(weights, f"pi.net.mlp.{place}", widths[-1], num_outputs))
    log_std = weights.take("pi.log_std", (num_actions,)) if free else None
    critics = (
        (*_SAC, *(f"target_{name}" for name in _SAC)) if is_sac else ("vf", "encoder.critic_encoder", "_old_encoder", "_old_pi")
    )
    weights.require_used((*critics, "pi.log_std_clip_param_const"))
    return Architecture(encoder=tuple(encoder), head=tuple(head), output=output, num_actions=num_actions, log_std=log_std)


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the settings that shape the network, each of its type."""
    settings = {key: checkpoint.settings.get(key, default) for key, default in _DEFAULTS.items()}
    for key, default in _DEFAULTS.items():
        value = settings[key]
        widths = isinstance(value, list) and all(type(width) is int and width > 0 for width in value)
        if (isinstance(default, bool) and not isinstance(value, bool)) or (isinstance(default, list) and not widths):
            raise InputError(f"{checkpoint.path}: its setting {key} makes no sense; {AGAIN}")
    if settings["use_lstm"]:
        raise InputError(f"{checkpoint.path}: a recurrent network (use_lstm), which isn't supported: {OWN}")
    space = checkpoint.observation
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise InputError(f"{checkpoint.path}: its network sees {str(space)[:100]}; only flat vectors are supported: {OWN}")
    return settings


def _actions(checkpoint: Checkpoint, *, squashed: bool) -> tuple[Output, int]:
    space = checkpoint.action
    if isinstance(space, spaces.Discrete):
        return "best", int(space.n)
    if isinstance(space, spaces.MultiDiscrete) and not squashed and space.nvec.ndim == 1:
        return "best", int(space.nvec.sum())
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.dtype.kind == "f":
        return "tanh" if squashed else "identity", space.shape[0]
    raise InputError(f"{checkpoint.path}: its actions are {str(space)[:100]}, which isn't supported: {OWN}")


def _activation(checkpoint: Checkpoint, key: str, settings: dict[str, Any]) -> str | None:
    value = settings[key]
    origin = getattr(value, "origin", "")  # a class: torch.nn.modules.activation.ReLU
    name = origin.rpartition(".")[2] if origin.startswith("torch.nn.") else value
    if name is None or name == "linear":
        return None
    found = NAMES.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise InputError(f"{checkpoint.path}: {key}={str(name)[:60]}; known are linear, {', '.join(ACTIVATIONS)}: {OWN}")
    return found


def _stack(
    weights: Weights, name: str, widths: Sequence[int], activation: str | None, *, norm: bool
) -> tuple[list[Layer], int]:
    """Return hidden layers of a torch Sequential of affine maps, normalisations and activations, and the next free index."""
    layers, place = [], 0
    for num_in, num_out in itertools.pairwise(widths):
        layers.append(_affine(weights, f"{name}.{place}", num_in, num_out, f"{name}.{place + 1}" if norm else None, activation))
        place += 1 + norm + (activation is not None)
    return layers, place


def _affine(
    weights: Weights, name: str, num_in: int, num_out: int, norm: str | None = None, activation: str | None = None
) -> Layer:
    def take(name: str, *shape: int) -> Array:
        values = weights.take(name, shape)
        if not np.isfinite(values).all():
            raise InputError(f"{name} holds numbers that aren't finite; save a checkpoint from before the training diverged")
        return values

    weight, bias = take(f"{name}.weight", num_out, num_in), take(f"{name}.bias", num_out)
    normalise = norm and Norm(weight=take(f"{norm}.weight", num_out), bias=take(f"{norm}.bias", num_out), epsilon=_EPSILON)
    return Layer(weight=weight, bias=bias, norm=normalise or None, activation=activation)

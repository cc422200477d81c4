"""From a model's parameter names to its network, and to how its outputs become actions.

Parameter names and the last steps are those of Stable-Baselines3 and sb3-contrib: `ActorCriticPolicy` (PPO, A2C, TRPO), SAC's
and TQC's `Actor`, TD3's `Actor` (also DDPG), `QNetwork` (DQN), `QuantileNetwork` (QR-DQN) and `ARSPolicy`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from distil.config import nearest
from distil.errors import InputError
from distil.experts.sb3.archive import Archive
from distil.experts.sb3.network import ACTIVATIONS, Layer, Mlp
from distil.types import Array

Algo = Literal["auto", "ppo", "a2c", "trpo", "sac", "tqc", "td3", "ddpg", "dqn", "qrdqn", "ars"]
# identity: the action itself, clipped; tanh: squashed and rescaled to the bounds; best: argmax of each factor's values
Output = Literal["identity", "tanh", "best"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A deterministic policy: its network and the way from outputs to actions."""

    algos: tuple[Algo, ...]  # those that save such parameters, the likeliest first
    network: Mlp
    output: Output
    mean_clip: float | None = None  # SAC with gSDE: bound of the mean before tanh
    num_quantiles: int = 1  # QR-DQN: outputs a choice, to be averaged


def read_layout(archive: Archive) -> Layout:
    """Return the policy in an archive; InputError says what isn't supported."""
    weights = archive.weights
    _refuse_unsupported(archive)
    if _has(weights, "mlp_extractor.") or ("action_net.weight" in weights and "value_net.weight" in weights):
        return _actor_critic(archive)
    if _has(weights, "actor.latent_pi.") or _has(weights, "actor.mu."):
        return _actor(archive)
    if _has(weights, "quantile_net.quantile_net."):
        layers = _sequence(archive, "quantile_net.quantile_net.")
        num_quantiles = int(archive.policy_kwarg("n_quantiles") or archive.data.get("n_quantiles") or 200)
        network = _network(archive, layers, "ReLU")
        return Layout(algos=("qrdqn",), network=network, output="best", num_quantiles=num_quantiles)
    if _has(weights, "q_net.q_net."):
        return Layout(algos=("dqn",), network=_network(archive, _sequence(archive, "q_net.q_net."), "ReLU"), output="best")
    if _has(weights, "action_net."):
        return _random_search(archive)
    known = "PPO, A2C, TRPO, SAC, TQC, TD3, DDPG, DQN, QR-DQN, ARS"
    raise InputError(f"{archive.path}: parameters {', '.join(list(weights)[:3])} ... are of none of {known}")


def _actor_critic(archive: Archive) -> Layout:
    layers = _sequence(archive, "mlp_extractor.shared_net.") + _sequence(archive, "mlp_extractor.policy_net.")
    layers.append(_layer(archive, "action_net"))
    continuous = "log_std" in archive.weights
    squashed = bool(archive.data.get("use_sde")) and archive.policy_kwarg("squash_output") is True
    output: Output = ("tanh" if squashed else "identity") if continuous else "best"
    algos = _likeliest(archive, {"trpo": "cg_max_steps", "ppo": "clip_range"}, "a2c", "ppo", "trpo")
    return Layout(algos=algos, network=_network(archive, layers, "Tanh"), output=output)


def _actor(archive: Archive) -> Layout:
    if "actor.log_std" not in archive.weights and not _has(archive.weights, "actor.log_std."):  # a deterministic actor
        layers = _sequence(archive, "actor.mu.")
        return Layout(algos=("td3", "ddpg"), network=_network(archive, layers, "ReLU"), output="tanh")
    clipped = "actor.mu.0.weight" in archive.weights  # gSDE: a linear layer, then a hard tanh
    layers = [*_sequence(archive, "actor.latent_pi."), _layer(archive, "actor.mu.0" if clipped else "actor.mu")]
    bound = archive.policy_kwarg("clip_mean")
    mean_clip = (2.0 if bound is None else float(bound)) if clipped else None
    algos = _likeliest(archive, {"tqc": "top_quantiles_to_drop_per_net"}, "sac", "tqc")
    return Layout(algos=algos, network=_network(archive, layers, "ReLU"), output="tanh", mean_clip=mean_clip)


def _likeliest(archive: Archive, marks: Mapping[Algo, str], *algos: Algo) -> tuple[Algo, ...]:
    """Return `algos` with the one in front whose setting the archive has."""
    first = next((algo for algo, setting in marks.items() if setting in archive.data), algos[0])
    return (first, *(algo for algo in algos if algo != first))


def _random_search(archive: Archive) -> Layout:
    layers = _sequence(archive, "action_net.")
    squash = archive.policy_kwarg("squash_output")
    squashed = len(layers) > 1 if squash is None else squash is True
    discrete = archive.space_kind("action_space") == "Discrete"
    output: Output = "best" if discrete else "tanh" if squashed else "identity"
    return Layout(algos=("ars",), network=_network(archive, layers, "ReLU"), output=output)


def _network(archive: Archive, layers: list[Layer], default: str) -> Mlp:
    activation = archive.activation() or default
    if activation not in ACTIVATIONS:
        close = nearest(activation, list(ACTIVATIONS))
        raise InputError(f"{archive.path}: activation {activation} isn't supported{close}; only {', '.join(ACTIVATIONS)}")
    for before, after in itertools.pairwise(layers):
        if len(before.weight) != after.weight.shape[1]:
            shapes = f"{before.weight.shape} and {after.weight.shape}"
            raise InputError(f"{archive.path}: layers of shapes {shapes} don't follow one another; save the model again")
    return Mlp(layers, activation)


def _sequence(archive: Archive, prefix: str) -> list[Layer]:
    """Return the affine layers of a torch Sequential, in order."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.weight")
    found = (pattern.fullmatch(name) for name in archive.weights)
    return [_layer(archive, f"{prefix}{index}") for index in sorted(int(match[1]) for match in found if match)]


def _layer(archive: Archive, name: str) -> Layer:
    weight, bias = archive.weights.get(f"{name}.weight"), archive.weights.get(f"{name}.bias")
    if weight is None:
        raise InputError(f"{archive.path}: has no parameter {name}.weight; is it a policy of an MLP?")
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise InputError(f"{archive.path}: {name} has weights of shape {weight.shape}; only plain linear layers are supported")
    return Layer(weight=weight, bias=bias)


def _refuse_unsupported(archive: Archive) -> None:
    for part, what in (("features_extractor.", "a feature extractor (a CNN, for one)"), ("lstm", "a recurrent network")):
        if any(part in name for name in archive.weights):
            raise InputError(f"{archive.path}: has {what}; only MLP policies are read. Wrap the model as expert.kind=import")


def _has(weights: Mapping[str, Array], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in weights)

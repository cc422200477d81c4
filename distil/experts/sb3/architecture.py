"""Builds a model's network, and the mapping from its outputs to actions, from its policy class and parameters.

Parameter names and output steps are those of Stable-Baselines3 and sb3-contrib: `ActorCriticPolicy` (PPO, A2C, TRPO), SAC's
and TQC's `Actor`, TD3's `Actor` (also DDPG), `QNetwork` (DQN), `QuantileNetwork` (QR-DQN) and `ARSPolicy`. The class must be a
known one and every parameter of its actor is used: a network with more than this is refused, never read in part.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from distil.errors import InputError
from distil.experts.network import Layer, NumpyMlp
from distil.experts.sb3.archive import Archive
from distil.experts.sb3.settings import FIX, Settings

Algo = Literal["auto", "ppo", "a2c", "trpo", "sac", "tqc", "td3", "ddpg", "dqn", "qrdqn", "ars"]
# identity: the action itself, clipped; tanh: squashed and rescaled to the bounds; best: argmax of each factor's values
Output = Literal["identity", "tanh", "best"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A deterministic policy: its network and the mapping from outputs to actions."""

    algos: tuple[Algo, ...]  # algorithms that save such a policy, most likely first
    network: NumpyMlp
    output: Output
    mean_clip: float | None = None  # SAC with gSDE: bound of the mean before tanh
    num_quantiles: int = 1  # QR-DQN: outputs per choice, which are averaged


def read_architecture(archive: Archive) -> Architecture:
    """Return the policy of an archive; InputError names an unsupported part."""
    settings = Settings(archive, _FAMILIES)
    family = _FAMILIES[settings.policy]
    architecture = family.read(archive, settings)
    rest = [name for name in archive.weights if name not in archive.weights.used and not name.startswith(family.apart)]
    if rest:
        raise InputError(
            f"{archive.path}: parameters {', '.join(rest[:3])[:200]} are not part of a supported {settings.policy}: {FIX}"
        )
    return architecture


def _actor_critic(archive: Archive, settings: Settings) -> Architecture:
    layers = _sequence(archive, "mlp_extractor.shared_net.") + _sequence(archive, "mlp_extractor.policy_net.")
    layers.append(_layer(archive, "action_net"))
    squashed = archive.data.get("use_sde") is True and settings.flag("squash_output", default=False)
    output: Output = ("tanh" if squashed else "identity") if "log_std" in archive.weights else "best"
    algos = _likeliest(archive, {"trpo": "cg_max_steps", "ppo": "clip_range"}, "a2c", "ppo", "trpo")
    return Architecture(algos=algos, network=_network(archive, layers, settings, "Tanh"), output=output)


def _squashed_gaussian(archive: Archive, settings: Settings) -> Architecture:
    clipped = "actor.mu.0.weight" in archive.weights  # gSDE: a linear layer, then a hard tanh
    layers = [*_sequence(archive, "actor.latent_pi."), _layer(archive, "actor.mu.0" if clipped else "actor.mu")]
    mean_clip = settings.number("clip_mean", 2.0) if clipped else None
    algos: tuple[Algo, ...] = ("tqc",) if settings.policy.startswith("sb3_contrib") else ("sac",)
    network = _network(archive, layers, settings, "ReLU")
    return Architecture(algos=algos, network=network, output="tanh", mean_clip=mean_clip)


def _deterministic(archive: Archive, settings: Settings) -> Architecture:
    network = _network(archive, _sequence(archive, "actor.mu."), settings, "ReLU")
    return Architecture(algos=("td3", "ddpg"), network=network, output="tanh")


def _values(archive: Archive, settings: Settings) -> Architecture:
    network = _network(archive, _sequence(archive, "q_net.q_net."), settings, "ReLU")
    return Architecture(algos=("dqn",), network=network, output="best")


def _quantiles(archive: Archive, settings: Settings) -> Architecture:
    network = _network(archive, _sequence(archive, "quantile_net.quantile_net."), settings, "ReLU")
    num_quantiles = settings.number("n_quantiles", 200)
    if num_quantiles < 1 or num_quantiles % 1 or network.num_outputs % num_quantiles:
        raise InputError(f"{archive.path}: {network.num_outputs} outputs for {num_quantiles:g} quantiles; save the model again")
    return Architecture(algos=("qrdqn",), network=network, output="best", num_quantiles=int(num_quantiles))


def _random_search(archive: Archive, settings: Settings) -> Architecture:
    linear = settings.policy.endswith(".ARSLinearPolicy")
    layers = _sequence(archive, "action_net.")
    if not layers:  # sb3-contrib < 1.7: a linear policy's only layer has no index
        layers = [_layer(archive, "action_net")]
    squashed = settings.flag("squash_output", default=not linear)
    network = _network(archive, layers, settings, "ReLU", hidden=[] if linear else None)
    if archive.action().leaf.kind != "box":
        return Architecture(algos=("ars",), network=network, output="best")
    if not linear and not squashed and _version(archive) < (1, 7):
        raise InputError(f"{archive.path}: ARS with squash_output=False of sb3-contrib < 1.7 squashed actions anyway; {FIX}")
    return Architecture(algos=("ars",), network=network, output="tanh" if squashed else "identity")


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Policy classes that share one network layout."""

    read: Callable[[Archive, Settings], Architecture]
    apart: tuple[str, ...]  # prefixes of parameters that the deterministic action does not use: critics, targets, deviations


_COMMON = "stable_baselines3.common.policies"
_CRITICS = ("critic.", "critic_target.")
_FAMILIES: Mapping[str, _Family] = {
    f"{module}.{name}": family
    for family, module, names in (
        (
            _Family(read=_actor_critic, apart=("value_net.", "mlp_extractor.value_net.", "log_std", "sde_features_extractor.")),
            _COMMON,
            ("ActorCriticPolicy", "MultiInputActorCriticPolicy"),
        ),
        (
            _Family(read=_squashed_gaussian, apart=(*_CRITICS, "actor.log_std", "actor.sde_features_extractor.")),
            "stable_baselines3.sac.policies",
            ("SACPolicy", "MultiInputPolicy"),
        ),
        (
            _Family(read=_squashed_gaussian, apart=(*_CRITICS, "actor.log_std", "actor.sde_features_extractor.")),
            "sb3_contrib.tqc.policies",
            ("TQCPolicy", "MultiInputPolicy"),
        ),
        (
            _Family(read=_deterministic, apart=(*_CRITICS, "actor_target.")),
            "stable_baselines3.td3.policies",
            ("TD3Policy", "MultiInputPolicy"),
        ),
        (
            _Family(read=_values, apart=("q_net_target.",)),
            "stable_baselines3.dqn.policies",
            ("DQNPolicy", "MultiInputPolicy"),
        ),
        (
            _Family(read=_quantiles, apart=("quantile_net_target.",)),
            "sb3_contrib.qrdqn.policies",
            ("QRDQNPolicy", "MultiInputPolicy"),
        ),
        (_Family(read=_random_search, apart=()), "sb3_contrib.ars.policies", ("ARSPolicy", "ARSLinearPolicy")),
    )
    for name in names
}


def _likeliest(archive: Archive, marks: Mapping[Algo, str], *algos: Algo) -> tuple[Algo, ...]:
    """Return `algos`, starting with the one whose setting the archive has."""
    first = next((algo for algo, setting in marks.items() if setting in archive.data), algos[0])
    return (first, *(algo for algo in algos if algo != first))


def _version(archive: Archive) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,6}", archive.version)[:2])


def _network(
    archive: Archive, layers: list[Layer], settings: Settings, default: str, hidden: list[int] | None = None
) -> NumpyMlp:
    if not layers:
        raise InputError(f"{archive.path}: has no parameters of a {settings.policy}; save the model again")
    for before, after in itertools.pairwise(layers):
        if len(before.weight) != after.weight.shape[1]:
            shapes = f"{before.weight.shape} and {after.weight.shape}"
            raise InputError(f"{archive.path}: layers of shapes {shapes} do not chain; save the model again")
    has, wanted = [len(layer.weight) for layer in layers[:-1]], settings.hidden() if hidden is None else hidden
    if wanted is not None and has != wanted:
        raise InputError(f"{archive.path}: hidden layers have widths {has}, but its net_arch says {wanted}: {FIX}")
    activation = settings.activation(default)
    return NumpyMlp([*(replace(layer, activation=activation) for layer in layers[:-1]), layers[-1]])


def _sequence(archive: Archive, prefix: str) -> list[Layer]:
    """Return the affine layers of a torch Sequential, in order; there is an activation between each two."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.weight")
    found = (pattern.fullmatch(name) for name in archive.weights)
    indices = sorted(int(match[1]) for match in found if match)
    if indices != list(range(0, 2 * len(indices), 2)):
        raise InputError(f"{archive.path}: {prefix}{{{','.join(map(str, indices[:9]))}}} aren't layers of a plain MLP: {FIX}")
    return [_layer(archive, f"{prefix}{index}") for index in indices]


def _layer(archive: Archive, name: str) -> Layer:
    weight, bias = archive.weights.get(f"{name}.weight"), archive.weights.get(f"{name}.bias")
    if weight is None:
        raise InputError(f"{archive.path}: has no parameter {name}.weight; is it an MLP policy?")
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise InputError(f"{archive.path}: {name} has weights of shape {weight.shape}; only plain linear layers are supported")
    return Layer(weight=weight, bias=bias)

"""Chooses how N environments are stepped: by a vectorised implementation where there is one, otherwise one by one."""

from __future__ import annotations

from distil.envs.cartpole import CartPoleSlots
from distil.envs.config import EnvSpec, GymEnvConfig, ImportEnvConfig, describe
from distil.envs.slots import ListSlots, Slots
from distil.envs.vector import VectorSlots


def slots(config: GymEnvConfig | ImportEnvConfig, num: int, native: bool = True, spec: EnvSpec | None = None) -> Slots:
    """Return `num` environments.

    Args:
        config: which environment.
        num: number of environments.
        native: allow a vectorised implementation of a known environment; it has no `envs` to inspect.
        spec: `describe(config)` if the caller already has it.
    """
    spec = spec or describe(config)
    if isinstance(config, ImportEnvConfig) and config.vectorised:
        return VectorSlots(config, num, spec)
    if native and isinstance(config, GymEnvConfig) and CartPoleSlots.serves(config):
        return CartPoleSlots(config, num)
    return ListSlots(config, num, spec)

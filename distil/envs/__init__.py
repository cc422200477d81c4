"""Environments: configuration, spaces as data, and N of them stepped together."""

from distil.envs.config import EnvConfig, EnvSpec, GymEnvConfig, ImportEnvConfig, WrapperConfig, describe, make
from distil.envs.slots import ListSlots, SlotError, Slots, StepResult, slots

__all__ = [
    "EnvConfig",
    "EnvSpec",
    "GymEnvConfig",
    "ImportEnvConfig",
    "ListSlots",
    "SlotError",
    "Slots",
    "StepResult",
    "WrapperConfig",
    "describe",
    "make",
    "slots",
]

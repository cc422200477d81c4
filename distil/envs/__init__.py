"""Environments: configuration, spaces as data, and stepping N of them together."""

from distil.envs.config import (
    EnvConfig,
    EnvSpec,
    GymEnvConfig,
    ImportEnvConfig,
    WrapperConfig,
    content_of,
    describe,
    make,
    reset_infos,
)
from distil.envs.factory import slots
from distil.envs.slots import ListSlots, SlotError, Slots, StepResult

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
    "content_of",
    "describe",
    "make",
    "reset_infos",
    "slots",
]

"""Where actors may run: keys that the configurations of workers, learners and served experts share."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from distil.config import Config

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:{_NAME}(?:\.{_NAME})*/)?{_NAME}")
_VALUE = re.compile(rf"!?(?:{_NAME}|in\({_NAME}(?:, ?{_NAME})*\))")
_OWN = ("CPU", "GPU")


class PlacementConfig(Config):
    """Which nodes of a Ray cluster may run the actors; by default, any. Without a cluster there is one node, without labels."""

    labels: Mapping[str, str] = Field(default_factory=dict)
    """Labels that a node must have, as `ray start --labels` gives them: a value, `!value`, `in(a, b)` or `!in(a, b)`."""
    resources: Mapping[str, float] = Field(default_factory=dict)
    """Ray resources that each actor takes beside its CPUs and GPUs: those that nodes were started with, or `memory` (bytes)."""

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: Mapping[str, str]) -> Mapping[str, str]:
        for key, value in labels.items():
            if not _KEY.fullmatch(key):
                raise ValueError(f"{key!r} is no label's key: letters, digits, '-', '_' and '.', such as role")
            if not _VALUE.fullmatch(value):
                raise ValueError(f"{key}={value!r} is no label's value: such as spot, !spot, in(a, b) or !in(a, b)")
        return {key: value.replace(" ", "") for key, value in labels.items()}  # Ray's placement groups would look for " b"

    @field_validator("resources")
    @classmethod
    def _are_resources(cls, resources: Mapping[str, float]) -> Mapping[str, float]:
        for name, amount in resources.items():
            if name in _OWN:
                raise ValueError(f"{name} is not set here: actors take their own")
            if amount <= 0:
                raise ValueError(f"{name}={amount:g}: should be above 0")
        return resources

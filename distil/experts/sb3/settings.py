"""Reads a model's network from its settings. Each setting must have a known value; anything else is refused, never guessed."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from typing import Any

from distil.config import nearest
from distil.errors import InputError
from distil.experts import pickles
from distil.experts.network import ACTIVATIONS
from distil.experts.sb3.archive import Archive

FIX = "wrap the model as expert.kind=import"
_REFUSED = {  # part of a class's name -> the unsupported feature
    "crossq": "CrossQ, with batch renormalisation between its layers",
    "recurrent": "a recurrent network",
    "maskable": "one that needs action masks",
    "Cnn": "a CNN for images",
}
_EXTRACTORS = ("FlattenExtractor", "CombinedExtractor")
# keyword arguments of a policy that change neither the network's shape nor its deterministic action; the others are read
_NO_MATTER = [
    "ortho_init",
    "log_std_init",
    "full_std",
    "use_expln",
    "sde_net_arch",
    "optimizer_class",
    "optimizer_kwargs",
    "n_critics",
    "share_features_extractor",
    "features_extractor_kwargs",
    "normalize_images",
    "device",
    "with_bias",
]
_READ = ["net_arch", "activation_fn", "use_sde", "squash_output", "clip_mean", "features_extractor_class", "n_quantiles"]


class Settings:
    """The policy of an archive: its class, and its keyword arguments by name.

    Args:
        archive: the model.
        classes: names of the supported policy classes, as `module.Class`.

    Raises:
        InputError: another class, another feature extractor, or an unknown keyword argument.
    """

    def __init__(self, archive: Archive, classes: Mapping[str, Any]) -> None:
        self.path = archive.path
        self._kwargs = _mapping(archive, "policy_kwargs")
        self.policy = _class_name(archive.data.get("policy_class"), f"{self.path}: its policy_class")
        if self.policy not in classes:
            what = next((what for part, what in _REFUSED.items() if part in self.policy), "a user-defined class")
            raise InputError(
                f"{self.path}: its policy {self.policy[:100]} isn't supported: {what}; only the MLP policies of "
                f"Stable-Baselines3 and sb3-contrib are supported: {FIX}"
            )
        for name in self._kwargs:
            if name not in _NO_MATTER and name not in _READ:
                raise InputError(f"{self.path}: policy_kwargs.{name[:60]} is unknown and may change the network: {FIX}")
        self._check_extractor()
        self.activation("ReLU")  # refuse it by its name, not by its parameters

    def activation(self, default: str) -> str:
        """Return the name of the activation, such as `ReLU`."""
        if "activation_fn" not in self._kwargs:
            return default
        text = str(self._kwargs["activation_fn"])[:120]
        match = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", text)
        if match is None or match[1] not in ACTIVATIONS:
            close = nearest(match[1], list(ACTIVATIONS)) if match else ""
            known = ", ".join(ACTIVATIONS)
            raise InputError(
                f"{self.path}: activation {match[1] if match else text} isn't supported{close}; only {known}: {FIX}"
            )
        return match[1]

    def hidden(self) -> list[int] | None:
        """Return the widths of the actor's hidden layers if the settings hold them as plain numbers."""
        arch = self._kwargs.get("net_arch")
        sizes: list[Any] = []
        for part in arch if isinstance(arch, list) else [arch]:  # old: [shared, ..., {"pi": [...], "vf": [...]}]
            own = part.get("pi", []) if isinstance(part, dict) else [part]
            sizes += own if isinstance(own, list) else [own]
        return sizes if all(type(size) is int for size in sizes) else None

    def flag(self, name: str, default: bool) -> bool:
        """Return a boolean keyword argument."""
        value = self._kwargs.get(name, default)
        if str(value) not in ("True", "False"):
            raise self._fault(name, "True or False")
        return str(value) == "True"

    def number(self, name: str, default: float) -> float:
        """Return a finite numeric keyword argument."""
        try:
            value = float(self._kwargs.get(name, default))
        except (TypeError, ValueError, OverflowError):
            raise self._fault(name, "a number") from None
        if not math.isfinite(value):
            raise self._fault(name, "a finite number")
        return value

    def _check_extractor(self) -> None:
        text = str(self._kwargs.get("features_extractor_class", ""))[:200]
        match = re.fullmatch(r"<class 'stable_baselines3\.common\.torch_layers\.(\w+)'>", text)
        if text and (match is None or match[1] not in _EXTRACTORS):
            known = ", ".join(_EXTRACTORS)
            raise InputError(f"{self.path}: its feature extractor {text} isn't supported, only {known}: {FIX}")

    def _fault(self, name: str, wanted: str) -> InputError:
        came = str(self._kwargs[name])[:60]
        return InputError(f"{self.path}: policy_kwargs.{name} is {came}, expected {wanted}; save the model again")


def _mapping(archive: Archive, name: str) -> dict[str, Any]:
    value = archive.data.get(name) or {}
    if not isinstance(value, dict):
        raise InputError(f"{archive.path}: {name} is {type(value).__name__}, expected a dictionary; save the model again")
    return {key: entry for key, entry in value.items() if key not in (":type:", ":serialized:")}


def _class_name(entry: Any, where: str) -> str:
    """Return `module.Class` of a class in the settings; the pickle's reference and `__module__` must agree."""
    if not isinstance(entry, dict) or not isinstance(entry.get(":serialized:"), str):
        raise InputError(f"{where} is missing; save the model again with Stable-Baselines3")
    module = str(entry.get("__module__", ""))
    try:
        value = pickles.read(base64.b64decode(entry[":serialized:"]), where, packages=(*pickles.PACKAGES, module))
        origin = str(value.origin) if isinstance(value, type) and issubclass(value, pickles.Record) else ""
    except (InputError, ValueError):  # a class defined in a script is saved with its code
        origin = ""
    return origin if origin.rpartition(".")[0] == module else f"{module} (saved with its code)"

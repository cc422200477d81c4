"""The zip that Stable-Baselines3 saves a model in: its settings (JSON) and its weights, both read as plain data."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from distil.errors import InputError
from distil.types import Array

MAX_BYTES = {"data": 64 << 20, "policy.pth": 1 << 30}
MAX_RATIO = 200  # of a member's size to its compressed size


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A saved model."""

    path: Path
    data: Mapping[str, Any]  # the settings; base64-pickled fields stay text
    weights: Mapping[str, Array]  # parameter name -> array
    training: Mapping[str, Any]  # the zoo's config.yml beside it, or empty

    def space_kind(self, which: str) -> str | None:
        """Return `Box`, `Discrete` ... of `observation_space` or `action_space` as the settings say, or None."""
        match = re.search(r"\.(\w+)'>$", str(self._space(which).get(":type:", "")))
        return match[1] if match else None

    def space_text(self, which: str) -> str:
        """Return a short text of the space, such as `Box(8,)` or `Discrete(4)`; empty when the settings don't say."""
        space = self._space(which)
        size = space.get("n") or space.get("shape") or space.get("_shape") or space.get("nvec") or ""
        return f"{self.space_kind(which) or ''}({str(size).strip('[]() ')})" if space else ""

    def policy_kwarg(self, name: str) -> Any:
        """Return a keyword argument of the policy: as the settings say, else as config.yml does, else None."""
        value = self._mapping("policy_kwargs").get(name)
        if value is None:
            match = re.search(rf"\b{name}\W{{0,2}}\s*[=:]\s*([\w.+-]+)", str(self.training.get("policy_kwargs", "")))
            value = match[1] if match else None
        if value in ("True", "False"):
            return value == "True"
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value  # a name

    def activation(self) -> str | None:
        """Return the class name of the activation, such as `ReLU`, when it was set."""
        text = self.policy_kwarg("activation_fn")
        return None if text is None else re.sub(r"\W*$", "", str(text)).rpartition(".")[2]

    def _space(self, which: str) -> Mapping[str, Any]:
        return self._mapping(which)

    def _mapping(self, name: str) -> Mapping[str, Any]:
        value = self.data.get(name)
        return value if isinstance(value, dict) else {}


def read_archive(path: Path) -> Archive:
    """Return the model saved at `path`, a zip or a folder with one zip.

    Raises:
        InputError: no such file, no such zip, oversized members, or weights that aren't plain tensors.
    """
    if path.is_dir():
        zips = sorted(path.glob("*.zip"))
        if len(zips) != 1:
            raise InputError(f"{path}: holds {len(zips)} zip files; set expert.path to the one to use")
        path = zips[0]
    if not path.is_file():
        raise InputError(f"{path}: no such file; set expert.path to a Stable-Baselines3 zip")
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(_member(archive, "data", path))
            weights = _member(archive, "policy.pth", path)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
    ) as error:  # RuntimeError: encrypted, or nested too deep
        raise InputError(f"{path}: not a readable zip: {error}") from None
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{path}: member data isn't JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: member data is no Stable-Baselines3 settings")
    return Archive(path=path, data=data, weights=_weights(weights, path), training=_training(path))


def beside(path: Path, *names: str) -> Path | None:
    """Return the first of the files `names` in the zip's folder, or in the one of the zip's name next to it (the zoo's way)."""
    places = (path.parent, path.parent / path.stem)
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise InputError(f"{path}: has no member {name}; is it a Stable-Baselines3 zip?") from None
    _refuse_bomb(info, MAX_BYTES[name], path)
    with archive.open(info) as file:
        return file.read(MAX_BYTES[name])


def _refuse_bomb(info: zipfile.ZipInfo, limit: int, path: Path) -> None:
    if info.file_size > limit or info.file_size > MAX_RATIO * max(info.compress_size, 1024):
        raise InputError(f"{path}: member {info.filename} unpacks to {info.file_size} bytes, more than is safe; refused")


def _weights(data: bytes, path: Path) -> dict[str, Array]:
    import torch  # here, since only the reading of weights needs it: acting doesn't

    try:
        if zipfile.is_zipfile(io.BytesIO(data)):  # torch's own format: a zip in the zip
            for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
                _refuse_bomb(info, MAX_BYTES["policy.pth"], path)
        state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except InputError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged or a hostile file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: policy.pth refused, not plain weights: {reason[:200]}") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: policy.pth is no dictionary of tensors")
    return {str(key): value.detach().to(torch.float32).numpy().copy() for key, value in state.items()}


class _Loader(yaml.SafeLoader):
    """Plain YAML, plus the zoo's tag for an ordered dictionary, read as data."""


def _pairs(loader: yaml.SafeLoader, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError("an ordered dictionary that is no list of pairs")
    (pairs,) = loader.construct_sequence(node, deep=True)
    return {str(key): value for key, value in pairs}


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:collections.OrderedDict", _pairs)


def _training(path: Path) -> dict[str, Any]:
    file = beside(path, "config.yml")
    if file is None:
        return {}
    try:
        content = yaml.load(file.read_text(), Loader=_Loader)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        reason = getattr(error, "problem", None) or type(error).__name__
        raise InputError(f"{file}: not readable as plain data: {reason}; remove it, or keep only plain YAML") from None
    return content if isinstance(content, dict) else {}

"""The zip that Stable-Baselines3 saves a model in: its settings (JSON) and its weights, both read as plain data."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distil.config import parse_yaml, read_text
from distil.errors import InputError
from distil.experts.sb3.space import read_space
from distil.experts.sb3.tensors import Tensors, read_tensors
from distil.spaces import SpaceSpec, action_spec, observation_spec

MAX_BYTES = {"data": 16 << 20, "policy.pth": 1 << 30, "_stable_baselines3_version": 64}
MAX_RATIO = {"data": 20, "policy.pth": 20, "_stable_baselines3_version": 10}  # of size to compressed size


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A saved model."""

    path: Path
    data: Mapping[str, Any]  # the settings; base64-pickled fields are kept as text
    weights: Tensors  # parameter name -> array
    version: str  # version of Stable-Baselines3; may be empty
    training: Mapping[str, Any]  # the zoo's config.yml next to it; may be empty

    def observation(self) -> SpaceSpec:
        """Return the observation space that the model was trained on; InputError if it cannot be read."""
        return observation_spec(read_space(self.data.get("observation_space"), f"{self.path}: its observation_space"))

    def action(self) -> SpaceSpec:
        """Return the action space that the model was trained on; InputError if it cannot be read."""
        return action_spec(read_space(self.data.get("action_space"), f"{self.path}: its action_space"))


def read_archive(path: Path) -> Archive:
    """Return the model saved at `path`, a zip or a folder with one zip.

    Raises:
        InputError: the file is missing, is not such a zip, has oversized members, or weights that are not plain tensors.
    """
    path = find_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(_member(archive, "data", path))
            weights = _member(archive, "policy.pth", path)
            version = _version(archive, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:  # encrypted, or nested too deep
        raise InputError(f"{path}: not a readable zip: {error}") from None
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{path}: member data isn't JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: member data does not hold Stable-Baselines3 settings")
    tensors = read_tensors(weights, f"{path}: policy.pth")
    return Archive(path=path, data=data, weights=tensors, version=version, training=_training(path))


def find_archive(path: Path) -> Path:
    """Return `path` if it is a file, or the only zip in that folder; InputError if there is none or more than one."""
    if path.is_dir():
        zips = sorted(path.glob("*.zip"))
        if len(zips) != 1:
            raise InputError(f"{path}: holds {len(zips)} zip files; set expert.path to the one to use")
        path = zips[0]
    if not path.is_file():
        raise InputError(f"{path}: no such file; set expert.path to a Stable-Baselines3 zip")
    return path


def next_to(path: Path, *names: str) -> Path | None:
    """Return the first existing file of `names` in the zip's folder, or in the folder where the zoo keeps them.

    For `Ant-v3_1/Ant-v3.zip` and `Ant-v3_1/best_model.zip` that is `Ant-v3_1/Ant-v3`.
    """
    places = (path.parent, path.parent / path.stem, path.parent / path.parent.name.rpartition("_")[0])
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise InputError(f"{path}: has no member {name}; is it a Stable-Baselines3 zip?") from None
    if info.file_size > min(MAX_BYTES[name], MAX_RATIO[name] * max(info.compress_size, 1024)):
        raise InputError(f"{path}: member {info.filename} unpacks to {info.file_size} bytes, over the safety limit; refused")
    with archive.open(info) as file:
        return file.read(MAX_BYTES[name])


def _version(archive: zipfile.ZipFile, path: Path) -> str:
    name = "_stable_baselines3_version"
    text = _member(archive, name, path).decode("ascii", "replace") if name in archive.namelist() else ""
    return text.strip() if re.match(r"\d+\.\d+", text) else ""


def _training(path: Path) -> dict[str, Any]:
    file = next_to(path, "config.yml")
    if file is None:
        return {}
    content = parse_yaml(read_text(file), str(file), pairs=True)
    return content if isinstance(content, dict) else {}

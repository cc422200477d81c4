"""Minari datasets, read through the minari package from its HDF5, Arrow and Parquet storage.

What Minari has no field for travels in its infos (labels, who acted) and in metadata (seed, uid, spaces); other readers
pass over it. Images are written losslessly; Minari's own default, JPEG, comes back as it was decoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.arrow_files import open_arrow
from distil.interchange.base import Contents, Importer, require
from distil.interchange.columns import require_plausible
from distil.interchange.episodes import BadEpisodeError, Finding, Once, Report, one_line, said_of_joined
from distil.interchange.guard import require_inside
from distil.interchange.hdf5_files import open_hdf5
from distil.interchange.minari_actions import Actions, choose_actions
from distil.interchange.minari_episode import read_episode
from distil.interchange.minari_writer import ID
from distil.spaces import SpaceSpec, observation_spec
from distil.store.schema import StoreSpec, spec_from_json
from distil.types import Episode

_FAULTS = (OSError, KeyError, ValueError, TypeError, IndexError, AssertionError, AttributeError, RuntimeError)


class MinariImport(Importer):
    """Options to read a Minari dataset: a folder, or the id of one in Minari's local root."""

    summary: ClassVar[str] = "Minari dataset: folder or local id"
    kind: Literal["minari"] = "minari"

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`. Nothing is downloaded, and no environment is made."""
        folder = _folder(source)
        storage_module = require("minari.dataset.minari_storage", "minari")
        raw = _raw_metadata(folder)
        _require_sound(folder, raw)
        try:
            storage = storage_module.MinariStorage.read(folder)
        except (ImportError, *_FAULTS) as error:
            raise InputError(f"{folder}: minari can't read it: {one_line(error)}") from None
        own = "distil" in raw
        if own:
            self.require_no_choice(folder, "distil wrote this dataset, and reads it back whole")
            spec = _own_spec(raw, folder)
            actions = Actions(space=spec.action)
        else:
            observation = self._observation(storage.observation_space, folder, report)
            actions = choose_actions(storage.action_space, self.action_keys, folder)
            if len(actions.keys) > 1:
                report(Finding(file=str(folder), what=said_of_joined(actions.shapes)))
            spec = StoreSpec(observation=observation, action=actions.space, infos=self.infos, env=_env(raw))
        if raw.get("jpeg_encoding", True) and any(leaf.is_image for leaf in spec.observation.leaves):
            report(Finding(file=str(folder), what="its images may have been coded as JPEG, with loss; taken as decoded"))
        stem = str(raw.get("dataset_id", source.name))
        files = _EpisodeFiles(storage, folder, str(raw["data_format"]))
        load = partial(
            _load,
            files,
            spec=spec,
            actions=actions,
            own=own,
            source=f"minari:{stem}",
            labelled=self.demonstrations,
            note=Once(report),
        )
        loaders = ((f"episode_{index}", partial(load, index)) for index in range(int(raw["total_episodes"])))
        return Contents(spec=spec, episodes=loaders, stem=stem, file=folder)

    def _observation(self, space: spaces.Space[Any], folder: Path, report: Report) -> SpaceSpec:
        """Return the space of the chosen keys; text and the like are left out."""
        if not isinstance(space, spaces.Dict):
            if self.observations:
                raise InputError(f"{folder}: it has one array of observations; leave observations=... out")
            return observation_spec(space)
        known: dict[str, str] = {}
        kept = observation_spec(_numbers(space, "", known))
        names = self.model_copy(update={"action": "action"}).choose(known | {"action": ""}, known, folder, report)
        tree = _pruned(kept.tree, {f"obs/{name}" for name in names})
        return SpaceSpec(tree=tree, leaves=tuple(leaf for leaf in kept.leaves if leaf.name.removeprefix("obs/") in names))


def _folder(source: Path) -> Path:
    """Return the folder with metadata.json."""
    for folder in (source, source / "data"):
        if (folder / "metadata.json").is_file():
            return folder
    if not source.exists() and ID.fullmatch(source.as_posix()):
        root = require("minari.storage.datasets_root_dir", "minari")
        folder = Path(root.get_dataset_path(source.as_posix())) / "data"
        if (folder / "metadata.json").is_file():
            return folder
        raise InputError(f"{source}: no such folder or local dataset; see `minari list local`, `minari download {source}`")
    raise InputError(f"{source}: no Minari dataset there (no metadata.json); give its folder or its id")


def _raw_metadata(folder: Path) -> dict[str, Any]:
    try:
        raw = json.loads((folder / "metadata.json").read_bytes())
        missing = {"observation_space", "action_space", "data_format", "total_episodes"} - set(raw)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder / 'metadata.json'}: can't be read: {error}") from None
    if missing:  # minari would make the environment that the file names, which runs code
        raise InputError(f"{folder}: metadata.json has no {', '.join(sorted(missing))}; write the dataset with a newer minari")
    return dict(raw)


def _require_sound(folder: Path, raw: Mapping[str, Any]) -> None:
    """Raise InputError for files that minari shouldn't be given: it checks neither links nor sizes."""
    require_inside(folder)
    if raw["data_format"] == "hdf5":
        with open_hdf5(folder / "main_data.hdf5") as file:
            num_present = len(file)
    else:
        names = [path.name for path in folder.iterdir() if path.name.isdigit()]
        num_present = len(names)
    num = raw["total_episodes"]
    if not isinstance(num, int) or not 0 <= num <= num_present:
        raise InputError(f"{folder}: metadata.json says {num} episodes and {num_present} are there; restore it from a copy")


class _EpisodeFiles:
    """A dataset's episodes, read by minari once their files were checked."""

    def __init__(self, storage: Any, folder: Path, kind: str) -> None:
        self._storage, self._folder, self._kind = storage, folder, kind

    def read(self, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return an episode's data and its metadata; BadEpisodeError if it has none."""
        for path in () if self._kind == "hdf5" else (self._folder / str(index)).iterdir():
            if path.suffix == ".parquet":
                require_plausible(path)
            elif path.suffix != ".json":
                for _ in open_arrow(path):  # checks each batch
                    pass
        try:
            return next(iter(self._storage.get_episodes([index]))), next(iter(self._storage.get_episode_metadata([index])))
        except StopIteration:
            raise BadEpisodeError("has no data") from None


def _load(files: _EpisodeFiles, index: int, **options: Any) -> Episode:
    return read_episode(*files.read(index), index, **options)


def _numbers(space: spaces.Space[Any], path: str, known: dict[str, str]) -> spaces.Space[Any]:
    """Return the space without its Dicts' keys of text and the like; `known` gets each leaf's path, and why it's left out."""
    if isinstance(space, spaces.Dict):
        parts = {key: _numbers(sub, f"{path}{key}/", known) for key, sub in space.spaces.items() if not _is_empty(sub)}
        return spaces.Dict({key: sub for key, sub in parts.items() if not _is_empty(sub)})
    if isinstance(space, spaces.Tuple):
        for index, sub in enumerate(space.spaces):
            _numbers(sub, f"{path}{index}/", known)
        return space
    is_other = isinstance(space, spaces.Text | spaces.Sequence | spaces.Graph | spaces.OneOf)
    known[path.removesuffix("/")] = type(space).__name__.lower() if is_other else ""
    return spaces.Dict() if is_other else space


def _is_empty(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Dict) and not space.spaces


def _pruned(tree: Any, names: set[str]) -> Any:
    """Return the tree with the named leaves only, None if none is in it."""
    if isinstance(tree, str):
        return tree if tree in names else None
    if "dict" in tree:
        parts = {key: _pruned(sub, names) for key, sub in tree["dict"].items()}
        kept = {key: sub for key, sub in parts.items() if sub is not None}
        return {"dict": kept} if kept else None
    items = [_pruned(sub, names) for sub in tree["tuple"]]
    if any(item is None for item in items) and any(item is not None for item in items):
        raise InputError("observations: take all parts of a Tuple, or none of them")
    return {"tuple": items} if items and items[0] is not None else None


def _own_spec(raw: Mapping[str, Any], folder: Path) -> StoreSpec:
    try:
        data = json.loads(raw["distil"])
    except (ValueError, TypeError):
        data = {}
    return spec_from_json(data, str(folder))


def _env(raw: Mapping[str, Any]) -> dict[str, Any]:
    try:
        data = json.loads(raw["env_spec"])
        return {"kind": "gym", "id": str(data["id"]), "kwargs": dict(data.get("kwargs") or {})}
    except (KeyError, ValueError, TypeError):
        return {}

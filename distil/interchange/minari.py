"""Minari datasets, through the minari package: read from its HDF5, Arrow and Parquet storage, written to any of them.

What Minari has no field for travels in its infos (labels, who acted) and in metadata (seed, uid, spaces); other readers
pass over it. Images are written losslessly; Minari's own default, JPEG, comes back as it was decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange.arrow_files import open_arrow
from distil.interchange.base import Contents, Exporter, Importer, fresh, require
from distil.interchange.columns import require_plausible
from distil.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Once,
    Report,
    demonstration,
    facts,
    fit,
    one_line,
    read_facts,
    said_of_joined,
)
from distil.interchange.guard import require_inside
from distil.interchange.hdf5_files import open_hdf5
from distil.interchange.minari_actions import Actions, choose_actions
from distil.interchange.spaces import gym_space
from distil.spaces import SpaceSpec, observation_spec
from distil.store.schema import StoreSpec, spec_from_json
from distil.store.snapshot import Snapshot
from distil.success import SUCCESS_KEYS, success_of
from distil.types import Array, Episode

_ID = re.compile(r"([-_\w]+/)*[-_\w]+-v\d+")
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
    if not source.exists() and _ID.fullmatch(source.as_posix()):
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


def _load(
    files: _EpisodeFiles,
    index: int,
    *,
    spec: StoreSpec,
    actions: Actions,
    own: bool,
    source: str,
    labelled: bool,
    note: Once,
) -> Episode:
    data, about = files.read(index)
    num = len(data["rewards"])
    if int(about.get("total_steps", num)) != num:
        raise BadEpisodeError(f"has {num} steps where its metadata says {int(about['total_steps'])}")
    ends = {name: np.asarray(data[name]).astype(bool).reshape(-1) for name in ("terminations", "truncations")}
    for name, flags in ends.items():
        if len(flags) != num or np.any(flags[:-1]):
            raise BadEpisodeError(f"{name} is set before the last step", step=int(np.argmax(flags)))
    try:
        leaves = spec.observation.flatten(data["observations"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadEpisodeError(f"its observations don't have the space's keys ({error})") from None
    episode = demonstration(
        observations={leaf.name: fit(leaves[leaf.name], leaf, num + 1) for leaf in spec.observation.leaves},
        actions=fit(actions.read(data["actions"]), spec.action.leaf, num),
        rewards=np.asarray(data["rewards"], np.float64).reshape(-1),
        terminated=bool(num and ends["terminations"][-1]),
        truncated=bool(num and ends["truncations"][-1]),
        labelled=labelled,
        seed=_seed(about, index, source, note),
        source=source,
        success=_success(data.get("infos") or {}, num),
        infos=_infos(data.get("infos") or {}, spec.infos, num) if spec.infos and not own else None,
    )
    return _with_own(episode, data["infos"], about, spec) if own else episode


def _seed(about: Mapping[str, Any], index: int, source: str, note: Once) -> int:
    """Return an episode's seed; 0, and a note, for those of Minari's own that are too large for a store."""
    seed = int(about.get("seed") or 0)
    if -(1 << 63) <= seed < 1 << 63:
        return seed
    what = f"its seed {seed} is above the largest that a store holds, 2**63 - 1: such seeds are left out"
    note(Finding(file=source, episode=f"episode_{index}", what=what))
    return 0


def _infos(infos: Mapping[str, Any], names: tuple[str, ...], num: int) -> tuple[str, ...]:
    """Return each step's chosen infos as JSON."""
    for name in names:
        if name not in infos:
            raise BadEpisodeError(f"has no infos {name!r}; there are {', '.join(sorted(infos)) or 'none'}")
    rows = {name: _info_rows(infos[name], name, num) for name in names}
    return tuple(json.dumps({name: _plain(rows[name][t]) for name in names}) for t in range(num))


def _info_rows(rows: Any, name: str, num: int) -> Any:
    """Return an info's row of each step. Minari's first row is the reset's, unless the reset had no such key."""
    if isinstance(rows, Mapping):
        raise BadEpisodeError(f"its infos {name!r} are a group ({', '.join(rows)}), not one value a step")
    if len(rows) not in (num, num + 1):
        raise BadEpisodeError(f"its infos {name!r} aren't one value a step")
    return rows[1:] if len(rows) == num + 1 else rows


def _success(infos: Mapping[str, Any], num: int) -> bool | None:
    values = {name: infos[name] for name in SUCCESS_KEYS if name in infos and not isinstance(infos[name], Mapping)}
    rows = {name: _info_rows(value, name, num) for name, value in values.items() if len(value) in (num, num + 1)}
    return success_of([{name: row[step] for name, row in rows.items()} for step in range(num)])


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else np.asarray(value).tolist()


def _with_own(episode: Episode, infos: Mapping[str, Any], about: Mapping[str, Any], spec: StoreSpec) -> Episode:
    """Return the episode with what `MinariExport` put beside Minari's fields."""
    try:
        num, texts = episode.length, [_text(text) for text in infos["distil_infos"][:-1]] if spec.infos else None
        extra = {"infos": tuple(texts)} if texts is not None else {}
        names = ("actions", "expert_actions") if "distil_actions" in infos else ("expert_actions",)
        stored = {name: np.asarray(infos[f"distil_{name}"])[:-1] for name in names}
        marks = {name: np.asarray(infos[f"distil_{name}"], np.uint8)[:-1] for name in ("labelled", "acted_by_expert")}
        arrays = {name: fit(rows, spec.action.leaf, num) for name, rows in stored.items()}
        return Episode(**(vars(episode) | arrays | marks | extra | read_facts(json.loads(about["distil"]))))
    except (KeyError, ValueError, TypeError) as error:
        raise BadEpisodeError(f"what distil wrote beside it is damaged ({error})") from None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class MinariExport(Exporter):
    """Options to write a Minari dataset folder; `minari.load_dataset(id)` finds it below MINARI_DATASETS_PATH."""

    summary: ClassVar[str] = "Minari dataset folder"
    kind: Literal["minari"] = "minari"
    storage: Literal["hdf5", "arrow", "parquet"] = "hdf5"
    dataset_id: str = ""  # default: the target's name, with -v0 if it has no version

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """See `Exporter.write`."""
        minari = require("minari", "minari")
        storage_module = require("minari.dataset.minari_storage", "minari")
        buffer = require("minari.data_collector.episode_buffer", "minari").EpisodeBuffer
        own = target.absolute().name
        name = self.dataset_id or (own if _ID.fullmatch(own) else f"{own}-v0")
        if not _ID.fullmatch(name):
            raise InputError(f"dataset_id {name!r}: write it as (namespace/)name-v0, of letters, digits, '-' and '_'")
        spec = snapshot.spec
        with fresh(target) as part:
            (part / "data").mkdir(parents=True)
            storage = storage_module.MinariStorage.new(
                part / "data",
                observation_space=gym_space(spec.observation),
                action_space=gym_space(spec.action),
                env_spec=_env_spec(spec.env),
                data_format=self.storage,
                jpeg_encoding=False,
            )
            whole = {"dataset_id": name, "minari_version": minari.__version__, "distil": json.dumps(spec.to_json())}
            storage.update_metadata(whole)
            episodes = (snapshot.episode(index) for index in range(snapshot.num_episodes))
            storage.update_episodes(self._buffer(buffer, spec, episode) for episode in episodes)
            about = [{"distil": json.dumps(facts(snapshot.episode(i)))} for i in range(snapshot.num_episodes)]
            storage.update_episode_metadata(about)

    def _buffer(self, make: Callable[..., Any], spec: StoreSpec, episode: Episode) -> Any:
        num = episode.length
        last = np.zeros(num, bool)
        ends = {}
        for name, flag in (("terminations", episode.terminated), ("truncations", episode.truncated)):
            ends[name] = last.copy()
            ends[name][-1] = flag
        infos: dict[str, Any] = {
            "distil_expert_actions": _padded(episode.expert_actions),
            "distil_labelled": [*episode.labelled.tolist(), 0],
            "distil_acted_by_expert": [*episode.acted_by_expert.tolist(), 0],
        }
        if self.actions == "expert":
            infos["distil_actions"] = _padded(episode.actions)
        if spec.infos:
            infos["distil_infos"] = [*(episode.infos or ()), ""]
        return make(
            seed=episode.seed,
            observations=spec.observation.unflatten(episode.observations),
            actions=self.chosen_actions(episode),
            rewards=episode.rewards,
            infos=infos,
            **ends,
        )


def _padded(actions: Array) -> Any:
    rows = np.concatenate([actions, np.zeros_like(actions[:1])])
    return rows if rows.ndim > 1 else rows.tolist()  # minari's Arrow storage can't read arrays of one dimension back


def _env_spec(env: Mapping[str, Any]) -> Any:
    """Return Gymnasium's spec of the environment where its id is registered here, without wrappers of the user's own."""
    import copy

    import gymnasium

    if not env.get("id") or env.get("wrappers"):
        return None
    try:
        spec = copy.deepcopy(gymnasium.spec(str(env["id"])))
    except gymnasium.error.Error:
        return None
    spec.kwargs.update(env.get("kwargs") or {})
    return spec

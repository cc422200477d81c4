"""robomimic's HDF5 files: a group `data/demo_N` an episode, with actions, rewards, dones, obs/KEY and next_obs/KEY.

robomimic has one `dones` flag and one kind of action. What it has no field for is added to its own (datasets and
attributes named distil...), where robomimic doesn't look. Only numeric datasets are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.interchange.base import Contents, Exporter, WithoutFinalObservation, fresh, require
from distil.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Once,
    Report,
    demonstration,
    facts,
    fit,
    flags,
    join,
    one_line,
    read_facts,
    said_of_joined,
    success_in,
)
from distil.interchange.hdf5_files import FAULTS, datasets, open_hdf5
from distil.interchange.spaces import action_of, leaf_of, observation_of
from distil.spaces import Leaf, SpaceSpec
from distil.store.schema import StoreSpec, spec_from_json
from distil.store.snapshot import Snapshot
from distil.success import SUCCESS_KEYS, flag
from distil.types import Array, Episode

_DEMO = re.compile(r".*?(\d+)")
_GYM_TYPE = 2  # robomimic's EnvType of Gym environments


class RobomimicImport(WithoutFinalObservation):
    """Options to read a robomimic HDF5 file with observations.

    The final observation is the last one of next_obs. A file without next_obs lacks it; see `final_observation`.
    """

    summary: ClassVar[str] = "robomimic HDF5 file"
    kind: Literal["robomimic"] = "robomimic"
    action: str | tuple[str, ...] = "actions"
    filter_key: str | None = None  # only the demonstrations listed at mask/FILTER_KEY
    done: Literal["terminated", "truncated"] = "terminated"  # what a `dones` of 1 at the end means; it can't say

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        file = open_hdf5(source)
        try:
            names = self._names(file, source)
            spec, own = self._spec(file, source, names, report)
        except (InputError, BadEpisodeError, *FAULTS) as error:
            file.close()
            if isinstance(error, InputError):
                raise
            raise InputError(f"{source}: can't be read as a robomimic file: {one_line(error)}") from None
        return Contents(spec=spec, episodes=self._episodes(file, source, names, spec, own, report), stem=source.stem)

    def _episodes(
        self, file: Any, source: Path, names: list[str], spec: StoreSpec, own: bool, report: Report
    ) -> Iterator[tuple[str, Callable[[], Episode]]]:
        notes = {what: Once(report) for what in ("dones", "next_obs", "success")}
        load = _own_episode if own else partial(self._episode, source=source, notes=notes)
        with file:
            for name in names:
                yield name, partial(load, file, name, spec)

    def _names(self, file: Any, source: Path) -> list[str]:
        """Return the demonstrations' names in robomimic's order: by number."""
        data = file.get("data")
        names = (
            [name for name in data if _DEMO.fullmatch(name) and hasattr(data[name], "keys")] if hasattr(data, "keys") else []
        )
        if self.filter_key is not None:
            mask = file.get(f"mask/{self.filter_key}")
            if mask is None:
                has = ", ".join(file.get("mask", ())) or "none"
                raise InputError(f"{source}: no filter key {self.filter_key!r}; there are {has}")
            chosen = {name.decode() if isinstance(name, bytes) else str(name) for name in mask[:]}
            names = [name for name in names if name in chosen]
        if not names:
            raise InputError(f"{source}: no demonstrations in it (no data/demo_N); is it a robomimic file?")
        return sorted(names, key=lambda name: (int(_DEMO.fullmatch(name)[1]), name))  # type: ignore[index]

    def _spec(self, file: Any, source: Path, names: list[str], report: Report) -> tuple[StoreSpec, bool]:
        if "distil" in file:
            self.require_no_choice(source, "distil wrote this file, and reads it back whole")
            return _own_spec(file, source), True
        first = file["data"][names[0]]
        if "obs" not in first:
            raise InputError(f"{source}: no observations in it; extract them with robomimic's dataset_states_to_obs.py first")
        nodes = dict(datasets(first["obs"]))
        others = {key: node for key, node in datasets(first) if not key.startswith(("obs/", "next_obs/"))}
        known = {key: _fault(node) for key, node in (others | nodes).items()}
        keys = self.choose(known, sorted(nodes), source, report)
        if missing := [key for key in keys if key not in nodes]:
            raise InputError(f"{source}: no observations {', '.join(missing)}; there are {', '.join(nodes)}")
        if len(self.action_keys) > 1:
            report(Finding(file=str(source), what=said_of_joined({key: first[key].shape[1:] for key in self.action_keys})))
        shapes = {key: (first["obs"][key].shape[1:], first["obs"][key].dtype) for key in keys}
        observation = observation_of(shapes)
        if keys == ("flat",):  # what robomimic calls the observation of an environment without keys
            observation = SpaceSpec(tree="obs", leaves=(leaf_of("obs", *shapes["flat"]),))
        data = file["data"]
        action = action_of(self._actions(data[name]) for name in names if all(key in data[name] for key in self.action_keys))
        said = f"`dones` has one meaning: a 1 at the end is read as {self.done} (done=...)"
        report(Finding(file=str(source), what=said if "dones" in first else "doesn't say how episodes end: taken as truncated"))
        if "next_obs" not in first:
            report(self.finding(str(source)))
        if "rewards" not in first:
            report(Finding(file=str(source), what="holds no rewards: they are 0"))
        return StoreSpec(observation=observation, action=action, env=_env(file["data"].attrs)), False

    def _actions(self, group: Any) -> Array:
        return join({key: _read(group, key) for key in self.action_keys})

    def _episode(self, file: Any, name: str, spec: StoreSpec, *, source: Path, notes: Mapping[str, Once]) -> Episode:
        group = file["data"][name]
        actions = self._actions(group)
        num = len(actions)
        if int(group.attrs.get("num_samples", num)) != num:
            raise BadEpisodeError(f"has {num} actions where num_samples says {int(group.attrs['num_samples'])}")
        rows = {leaf.name: fit(_read(group, f"obs/{_own_key(leaf)}"), leaf, num) for leaf in spec.observation.leaves}
        if "next_obs" in group:
            for leaf in spec.observation.leaves:
                rows[leaf.name], step = _followed(rows[leaf.name], _read(group, f"next_obs/{_own_key(leaf)}"), leaf)
                if step is not None:
                    what = f"next_obs/{_own_key(leaf)} isn't the observation of the next step: only its last one is used"
                    notes["next_obs"](Finding(file=str(source), episode=name, step=step, what=what))
        else:
            rows, num = self.ended(rows, num)
        rewards = _numbers(group, "rewards", len(actions))
        dones = flags(_numbers(group, "dones", len(actions)), "dones")
        if np.any(dones[:-1]):
            what = "`dones` is set before the last step, where the episode didn't end: only its last one counts"
            notes["dones"](Finding(file=str(source), episode=name, step=int(np.argmax(dones)), what=what))
        done = bool(dones[-1:].any()) and num == len(actions)
        return demonstration(
            observations=rows,
            actions=fit(actions, spec.action.leaf, len(actions))[:num],
            rewards=rewards[:num],
            terminated=done and self.done == "terminated",
            truncated=not done or self.done == "truncated",
            labelled=self.demonstrations,
            source=f"robomimic:{source.name}",
            success=_success(group, name, source, notes["success"]),
        )


def _success(group: Any, name: str, source: Path, note: Once) -> bool | None:
    """Return what the demonstration's attributes or its steps say of success; None if neither does."""
    for key in SUCCESS_KEYS:
        if key in group.attrs:
            said = flag(group.attrs[key])
            if said is None:
                what = f"its attribute {key} is {str(group.attrs[key])[:40]!r}, which is no flag: left out"
                note(Finding(file=str(source), episode=name, what=what))
            return said
    for path in (f"{parent}{key}" for parent in ("", "infos/", "info/") for key in SUCCESS_KEYS):
        if hasattr(group.get(path), "dtype"):
            return success_in(_read(group, path), path)
    return None


def _own_key(leaf: Leaf) -> str:
    """Return the key below `obs` of a leaf of a file that distil didn't write."""
    return leaf.name.removeprefix("obs/") if "/" in leaf.name else "flat"


def _followed(rows: Array, following: Array, leaf: Leaf) -> tuple[Array, int | None]:
    """Return the observations with the last of next_obs, and the first step after which next_obs says something else.

    Images are not compared: they may have been rendered or coded again.
    """
    whole = np.concatenate([rows, fit(following[-1:], leaf, 1)])
    if len(leaf.shape) > 1 or following.shape[:1] != rows.shape[:1]:
        return whole, None
    same = np.isclose(fit(following, leaf, len(rows)), whole[1:], rtol=1e-5, atol=1e-6, equal_nan=True)
    same = np.all((same | ~np.isfinite(whole[1:])).reshape(len(rows), -1), axis=1)  # NaN is refused elsewhere
    return whole, None if np.all(same) else int(np.argmin(same))


def _fault(node: Any) -> str:
    """Return why a dataset isn't read, or nothing."""
    if node.dtype.kind in "biuf":
        return "" if node.shape else "a single number"
    return "text" if node.dtype.kind in "OSU" else str(node.dtype)


def _read(group: Any, name: str) -> Array:
    """Return a numeric dataset whole; nothing else is ever read."""
    try:
        node = group[name]
        if node.dtype.kind not in "biuf" or not node.shape:
            raise BadEpisodeError(f"{name} isn't an array of numbers but {node.dtype}")
        values: Array = node[:]
    except (*FAULTS, AttributeError) as error:
        raise BadEpisodeError(f"{name} can't be read: {one_line(error)}") from None
    return values


def _numbers(group: Any, name: str, num: int) -> Array:
    if name not in group:
        return np.zeros(num)
    values = _read(group, name).reshape(-1)
    if len(values) != num:
        raise BadEpisodeError(f"has {len(values)} {name} for {num} actions")
    return values.astype(np.float64)


def _env(attributes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        data = json.loads(attributes["env_args"])
        return {"kind": "robomimic", **data} if isinstance(data, dict) else {}
    except (KeyError, ValueError, TypeError):
        return {}


def _own_spec(file: Any, source: Path) -> StoreSpec:
    try:
        data = json.loads(_read(file, "distil").tobytes())
    except ValueError:
        data = {}
    return spec_from_json(data, str(source))


def _own_episode(file: Any, name: str, spec: StoreSpec) -> Episode:
    """Return the episode that `RobomimicExport` wrote."""
    group = file["data"][name]
    num = len(_read(group, "rewards"))
    try:
        own = json.loads(group.attrs["distil"])
        ends = {key: bool(own[key]) for key in ("terminated", "truncated")}
        infos = tuple(map(str, json.loads(_read(group, "distil_infos").tobytes()))) if spec.infos else None
        known: dict[str, Any] = {**ends, "infos": infos, **read_facts(own["facts"])}
    except (KeyError, ValueError, TypeError) as error:
        raise BadEpisodeError(f"the data that distil added is damaged ({error})") from None
    rows = {}
    for leaf in spec.observation.leaves:
        parts = [_read(group, f"obs/{_key(leaf.name)}"), _read(group, f"next_obs/{_key(leaf.name)}")[-1:]]
        rows[leaf.name] = fit(np.concatenate(parts), leaf, num + 1)
    actions = _read(group, "distil_actions" if "distil_actions" in group else "actions")
    return Episode(
        observations=rows,
        actions=fit(actions, spec.action.leaf, num),
        rewards=_read(group, "rewards").astype(np.float64),
        expert_actions=fit(_read(group, "distil_expert_actions"), spec.action.leaf, num),
        labelled=_read(group, "distil_labelled"),
        acted_by_expert=_read(group, "distil_acted_by_expert"),
        **known,
    )


class RobomimicExport(Exporter):
    """Options to write a robomimic HDF5 file. An observation without keys is named `flat`, as robomimic does for Gym."""

    summary: ClassVar[str] = "robomimic HDF5 file"
    kind: Literal["robomimic"] = "robomimic"

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """See `Exporter.write`."""
        h5py = require("h5py", "hdf5")
        spec = snapshot.spec
        keys = [_key(leaf.name) for leaf in spec.observation.leaves]
        if len(set(keys)) < len(keys):
            raise InputError(f"{snapshot.path}: two observations would be called {keys}; rename the space's keys")
        if spec.action.leaf.kind != "box":
            report(Finding(file=str(target), what="robomimic knows continuous actions only: choices are written as numbers"))
        with fresh(target) as part, h5py.File(part, "w") as file:
            data = file.create_group("data")
            for index in range(snapshot.num_episodes):
                self._write(data.create_group(f"demo_{index}"), snapshot.episode(index))
            data.attrs["total"] = snapshot.num_transitions
            env = {"env_name": str(spec.env.get("id", "")), "type": _GYM_TYPE, "env_kwargs": dict(spec.env.get("kwargs") or {})}
            data.attrs["env_args"] = json.dumps(env)
            file.create_dataset("distil", data=_bytes(spec.to_json()))  # an attribute holds no more than 64 KiB

    def _write(self, group: Any, episode: Episode) -> None:
        num, actions = episode.length, self.chosen_actions(episode)
        dones = np.zeros(num, np.int64)
        dones[-1] = episode.terminated or episode.truncated
        arrays = {
            "actions": actions.reshape(num, -1),
            "rewards": episode.rewards,
            "dones": dones,
            "distil_expert_actions": episode.expert_actions,
            "distil_labelled": episode.labelled,
            "distil_acted_by_expert": episode.acted_by_expert,
        }
        if self.actions == "expert":
            arrays["distil_actions"] = episode.actions
        for name, rows in episode.observations.items():
            two_d = rows.reshape(num + 1, -1) if rows.ndim == 1 else rows
            arrays |= {f"obs/{_key(name)}": two_d[:-1], f"next_obs/{_key(name)}": two_d[1:]}
        for name, values in arrays.items():
            group.create_dataset(name, data=values)
        if episode.infos is not None:
            group.create_dataset("distil_infos", data=_bytes(episode.infos))
        own = {"terminated": episode.terminated, "truncated": episode.truncated, "facts": facts(episode)}
        group.attrs["num_samples"] = num
        if episode.success is not None:
            group.attrs["success"] = episode.success
        group.attrs["distil"] = json.dumps(own)


def _bytes(data: Any) -> Array:
    return np.frombuffer(json.dumps(data).encode(), np.uint8)


def _key(leaf: str) -> str:
    """Return robomimic's key of a leaf; it may not hold a slash."""
    return leaf.removeprefix("obs/").replace("/", ".") if "/" in leaf else "flat"

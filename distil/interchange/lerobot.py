"""LeRobot datasets, format v3 (Parquet and MP4, many episodes a file), read without LeRobot.

A frame is an observation and the action that followed it; the format has no observation after the last action. What distil
adds (spaces, uids, that last observation) is in `meta/distil/`, which LeRobot passes over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from distil.interchange.base import Contents, WithoutFinalObservation
from distil.interchange.columns import Rows, json_rows, parquet_files, readable, runs, to_numpy
from distil.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Report,
    check_episode,
    demonstration,
    fit,
    flags,
    join,
    last_flag,
    read_facts,
    said_of_joined,
    success_in,
)
from distil.interchange.lerobot_meta import IMAGES, column, frame_shape, read_episodes, read_info, read_own, why_not
from distil.interchange.lerobot_video import Films
from distil.interchange.pictures import decode_images
from distil.interchange.spaces import action_of, leaf_of, observation_of
from distil.spaces import Leaf, SpaceSpec
from distil.store.schema import StoreSpec, spec_from_json
from distil.success import flag
from distil.types import Array, Episode

_ENDS = ("next.terminated", "next.truncated")
_REWARDS = ("next.reward", "reward")
_SUCCESS = ("next.success", "next.is_success", "is_success", "success")  # of frames, or of a row of meta/episodes


class LeRobotImport(WithoutFinalObservation):
    """Reads a LeRobot v3 dataset from its folder. Images and videos become uint8 observations, [height, width, 3]."""

    summary: ClassVar[str] = "LeRobot v3 dataset folder: Parquet and MP4"
    kind: Literal["lerobot"] = "lerobot"
    done: Literal["terminated", "truncated"] = "terminated"  # what a feature next.done means, which doesn't say

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        dataset = Dataset(self, source, report)
        spec = dataset.spec
        if not dataset.own:
            report(self.finding(str(source)))
            for what in (dataset.said_of_ends(), dataset.said_of_rewards(), dataset.said_of_tasks(), dataset.said_of_sizes()):
                if what:
                    report(Finding(file=str(source), what=what))
        if empty := sum(not row["length"] for row in dataset.meta.values()):
            report(Finding(file=str(source), what=f"{empty} of its episodes have no steps: left out"))
        if any(dataset.features[name]["dtype"] == "video" for name in dataset.names.values()):
            report(Finding(file=str(source), what="its videos are compressed with loss; images are taken as decoded"))
        return Contents(spec=spec, episodes=dataset.loaders(), stem=source.name)


class Dataset:
    """An open dataset: its features, its spaces, and its episodes in order."""

    def __init__(self, options: LeRobotImport, source: Path, report: Report) -> None:
        """Read the metadata; InputError if this isn't LeRobot's format v3 or a chosen feature isn't there."""
        self._options, self._source, self._report, self._told = options, source, report, set[str]()
        self.info = read_info(source)
        self.features: dict[str, Any] = self.info["features"]
        self._files = parquet_files(source / "data")
        self.meta = read_episodes(source)
        self._films = Films(source, self.info, self.meta, report)
        self.own = read_own(source, self.meta)
        if self.own:
            about = json.loads((source / "meta" / "distil" / "spec.json").read_bytes())
            self.spec = spec_from_json(about["spec"], str(source / "meta" / "distil" / "spec.json"))
            self.names = dict(about["features"])  # leaf -> feature
        else:
            self.names = self._choose(report)
            self.spec = self._guess()

    def said_of_ends(self) -> str:
        """Return what the report says about how episodes end."""
        if all(name in self.features for name in _ENDS):
            return "says how its episodes end (next.terminated, next.truncated)"
        if "next.done" in self.features:
            return f"doesn't say whether next.done is terminated or truncated: taken as {self._options.done} (done=...)"
        return "doesn't say how its episodes end: taken as truncated"

    def said_of_rewards(self) -> str:
        """Return what the report says where there are no rewards."""
        return "" if any(name in self.features for name in _REWARDS) else f"holds no rewards ({_REWARDS[0]}): they are 0"

    def said_of_sizes(self) -> str:
        """Return what the report says where meta/info.json and meta/episodes count differently."""
        has = {"total_episodes": len(self.meta), "total_frames": sum(row["length"] for row in self.meta.values())}
        wrong = [f"{name} {self.info[name]}, not {num}" for name, num in has.items() if self.info.get(name, num) != num]
        return f"meta/info.json contradicts meta/episodes: {', '.join(wrong)}: is it complete?" if wrong else ""

    def said_of_tasks(self) -> str:
        """Return what the report says about several tasks, which no observation tells apart."""
        texts = {text for row in self.meta.values() for text in row.get("tasks") or ()}
        if len(texts) < 2 or "task_index" in self._options.infos:
            return ""
        return f"its episodes are of {len(texts)} tasks, and text isn't kept; infos=[task_index] keeps which"

    def loaders(self) -> Iterator[tuple[str, Callable[[], Episode]]]:
        """Yield each episode's number and how to get it, in the files' order."""
        columns = [name for name, feature in self.features.items() if feature["dtype"] != "video" and name != "episode_index"]
        rest = {number for number, row in self.meta.items() if row["length"]}
        try:
            for rows in runs(self._files, "episode_index", columns):
                rest.discard(int(rows.key))
                yield str(rows.key), partial(self._load, rows)
            for number in sorted(rest):
                yield str(number), partial(_absent, self._source / "data")
        finally:
            self._films.close()

    def _choose(self, report: Report) -> dict[str, str]:
        known = {name: why_not(feature) for name, feature in self.features.items()}
        default = [name for name in known if name.startswith("observation")]
        chosen = self._options.choose(known, default, self._source, report)
        if len(keys := self._options.action_keys) > 1:
            report(Finding(file=str(self._source), what=said_of_joined({key: frame_shape(self.features[key]) for key in keys})))
        if len(chosen) == 1:
            return {"obs": chosen[0]}
        return {f"obs/{name.removeprefix('observation.')}": name for name in chosen}

    def _guess(self) -> StoreSpec:
        shapes = {leaf: frame_shape(self.features[name]) for leaf, name in self.names.items()}
        kinds = {leaf: self._dtype(name) for leaf, name in self.names.items()}
        if list(self.names) == ["obs"]:
            observation = SpaceSpec(tree="obs", leaves=(leaf_of("obs", shapes["obs"], kinds["obs"]),))
        else:
            observation = observation_of({leaf.removeprefix("obs/"): (shapes[leaf], kinds[leaf]) for leaf in self.names})
        names = self._options.action_keys
        action = action_of(readable(runs(self._files, "episode_index", names), self._actions))
        env = {"lerobot": {key: self.info.get(key) for key in ("robot_type", "fps")}}
        return StoreSpec(observation=observation, action=action, infos=self._options.infos, env=env)

    def _actions(self, table: pa.Table) -> Array:
        return join({key: column(table, key, frame_shape(self.features[key])) for key in self._options.action_keys})

    def _dtype(self, name: str) -> str:
        kind = str(self.features[name]["dtype"])
        return "uint8" if kind in IMAGES else kind

    def _load(self, rows: Rows) -> Episode:
        meta = self.meta.get(int(rows.key))
        table, num = rows.table, rows.table.num_rows
        if meta is None or meta["length"] != num:
            has = "isn't in meta/episodes" if meta is None else f"has {num} frames, meta/episodes says {meta['length']}"
            raise BadEpisodeError(has, file=str(rows.file))
        try:
            _require_order(table)
            self._look_at_clock(table)
            observations = {}
            for leaf in self.spec.observation.leaves:
                observations[leaf.name] = self._observation(leaf, self.names[leaf.name], table, meta)
            episode = self._own_episode(table, observations, meta) if self.own else self._episode(table, observations, meta)
            check_episode(self.spec, episode)
            return episode
        except BadEpisodeError as bad:
            raise BadEpisodeError(bad.what, step=bad.step, file=bad.file or str(rows.file)) from None

    def _look_at_clock(self, table: pa.Table) -> None:
        """Report time stamps that aren't those of the dataset's rate."""
        if "timestamp" in table.column_names:
            fps, times = float(self.info["fps"]), column(table, "timestamp", ())
            off = np.abs(times - np.arange(len(times)) / fps) > 0.5 / fps
            if np.any(off):
                step = int(np.argmax(off))
                what = f"its timestamp is {times[step]:.4g} s, not {step / fps:.4g} as {fps:g} frames a second give"
                self._say_once(f"{what}: its steps are taken one for one", table, step)

    def _say_once(self, what: str, table: pa.Table, step: int) -> None:
        """Report something of an episode, and not the same of the next ones."""
        kind = what.split()[0]
        if kind not in self._told:
            self._told.add(kind)
            episode = str(table["episode_index"][0])
            self._report(
                Finding(
                    file=str(self._source), episode=episode, step=step, what=f"{what} (reported for the first such episode)"
                )
            )

    def _observation(self, leaf: Leaf, name: str, table: pa.Table, meta: Mapping[str, Any]) -> Array:
        kind, num = self.features[name]["dtype"], table.num_rows
        if kind not in IMAGES:
            return fit(column(table, name, frame_shape(self.features[name])), leaf, num)
        images = self._films.take(name, int(meta["episode_index"])) if kind == "video" else _rgb(table[name], name)
        if leaf.shape[0] == 3 and images.shape[1:] != leaf.shape:  # stored with its channels last, kept with them first
            images = np.moveaxis(images, -1, 1)
        return fit(images, leaf, num)

    def _episode(self, table: pa.Table, observations: dict[str, Array], meta: Mapping[str, Any]) -> Episode:
        num = table.num_rows
        whole, kept = self._options.ended(observations, num)
        if kept < 1:
            raise BadEpisodeError("has no actions")
        action = self.spec.action.leaf
        values = self._actions(table)
        reward = next((name for name in _REWARDS if name in self.features), None)
        rewards = column(table, reward, ()) if reward else np.zeros(num)
        terminated, truncated = self._ends(table) if kept == num else (False, True)
        return demonstration(
            observations=whole,
            actions=fit(values[:kept], action, kept),
            rewards=rewards[:kept],
            terminated=terminated,
            truncated=truncated,
            labelled=self._options.demonstrations,
            success=self._success(table, meta),
            source=f"lerobot:{self._source.name}",
            infos=self._infos(table, kept) if self.spec.infos else None,
        )

    def _success(self, table: pa.Table, meta: Mapping[str, Any]) -> bool | None:
        for name in _SUCCESS:
            said = table[name].drop_null() if name in self.features and name in table.column_names else ()
            if len(said):
                return success_in(to_numpy(said), name)
        return next((flag(meta[name]) for name in _SUCCESS if meta.get(name) is not None), None)

    def _ends(self, table: pa.Table) -> tuple[bool, bool]:
        if all(name in self.features for name in _ENDS):
            terminated, truncated = (last_flag(column(table, name, ()), name, "frame") for name in _ENDS)
            return terminated, truncated
        over = False
        if "next.done" in self.features:
            done = flags(column(table, "next.done", ()), "next.done")
            over = bool(done[-1])
            if np.any(done[:-1]):
                self._say_once("next.done before its last frame: the episode is taken whole", table, int(np.argmax(done)))
        return over and self._options.done == "terminated", not over or self._options.done == "truncated"

    def _infos(self, table: pa.Table, num: int) -> tuple[str, ...]:
        for name in self.spec.infos:
            if name not in table.column_names:
                raise BadEpisodeError(f"has no feature {name!r} for infos; there are {', '.join(table.column_names)}")
        return json_rows(table.select(list(self.spec.infos)).slice(0, num))

    def _own_episode(self, table: pa.Table, observations: Mapping[str, Array], meta: Mapping[str, Any]) -> Episode:
        """Return an episode that `LeRobotExport` wrote: the last observation and what LeRobot has no field for come back."""
        num, action = table.num_rows, self.spec.action.leaf
        executed = "executed_action" if "executed_action" in self.features else "action"
        finals = _finals(self.spec, meta["distil"]["final"])
        try:
            facts = read_facts(json.loads(meta["distil"]["facts"]))
        except ValueError:
            raise BadEpisodeError("its distil facts are damaged") from None
        return Episode(
            observations={name: np.concatenate([values, finals[name][None]]) for name, values in observations.items()},
            actions=fit(column(table, executed, action.shape), action, num),
            expert_actions=fit(column(table, "expert_action", action.shape), action, num),
            labelled=column(table, "labelled", ()).astype(np.uint8),
            acted_by_expert=column(table, "acted_by_expert", ()).astype(np.uint8),
            rewards=column(table, "next.reward", ()).astype(np.float64),
            terminated=bool(column(table, "next.terminated", ())[-1]),
            truncated=bool(column(table, "next.truncated", ())[-1]),
            infos=tuple(table["infos"].to_pylist()) if self.spec.infos else None,
            **facts,
        )


def _absent(folder: Path) -> Episode:
    raise BadEpisodeError("is in meta/episodes, but has no rows in data/", file=str(folder))


def _require_order(table: pa.Table) -> None:
    """Raise BadEpisodeError unless the columns that count the frames say that these are in order, none left out."""
    numbers = column(table, "frame_index", ())
    steps = {"frame_index": numbers == np.arange(table.num_rows)}
    if "index" in table.column_names:
        index = column(table, "index", ())
        steps["index"] = index == index[0] + np.arange(table.num_rows)
    if "timestamp" in table.column_names:
        times = column(table, "timestamp", ())
        steps["timestamp"] = np.concatenate([[True], np.diff(times) > 0])
    for name, right in steps.items():
        if not np.all(right):
            raise BadEpisodeError(f"its frames aren't in order: {name} is out of step", step=int(np.argmin(right)))


def _finals(spec: StoreSpec, raw: bytes) -> dict[str, Array]:
    out, at = {}, 0
    for leaf in spec.observation.leaves:
        dtype = np.dtype(leaf.dtype)
        size = int(np.prod(leaf.shape))
        if at + size * dtype.itemsize > len(raw):
            raise BadEpisodeError("its final observation is damaged")
        out[leaf.name] = np.frombuffer(raw, dtype, size, at).reshape(leaf.shape)
        at += size * dtype.itemsize
    return out


def _rgb(column: pa.ChunkedArray, name: str) -> Array:
    frames = decode_images(((item or {}).get("bytes") for item in column.to_pylist()), name)
    return frames[..., :3] if frames.shape[-1] >= 3 else np.repeat(frames[..., :1], 3, axis=-1)

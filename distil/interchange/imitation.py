"""imitation's trajectories as it saves them: a folder of a Hugging Face dataset, one trajectory a row.

Read and written with pyarrow alone; no code in the data is run: infos are parsed as JSON and never decoded into objects,
and imitation's older files, which are pickles, are refused. imitation has one `terminal` flag and one observation array.
What else an episode has is written into the infos and to distil.json, where imitation passes over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from distil.errors import InputError
from distil.interchange.arrow_files import open_arrow
from distil.interchange.base import Contents, Exporter, Importer, fresh
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
)
from distil.interchange.guard import require_inside
from distil.interchange.lists import from_lists, numpy_dtype, to_lists
from distil.interchange.spaces import action_of, leaf_of
from distil.spaces import Leaf, SpaceSpec
from distil.store.schema import StoreSpec, spec_from_json
from distil.store.snapshot import Snapshot
from distil.success import success_of
from distil.types import Array, Episode

_OWN = "distil.json"
_LIMIT = "TimeLimit.truncated"  # where Stable-Baselines3 says that a limit ended the episode
_TABLE_BYTES = 64 << 20


class ImitationImport(Importer):
    """Options to read a folder that `imitation.data.serialize.save` wrote."""

    summary: ClassVar[str] = "imitation's trajectories: folder of a Hugging Face dataset"
    kind: Literal["imitation"] = "imitation"
    action: str | tuple[str, ...] = "acts"
    terminal: Literal["terminated", "truncated"] = "terminated"  # a terminal trajectory whose infos don't tell which

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        files, own = _files(source), _own(source)
        schema = _open(files[0]).schema
        missing = {"obs", "acts", "terminal"} - set(schema.names)
        if missing:
            raise InputError(f"{source}: has no column {', '.join(sorted(missing))}; is it imitation's?")
        self.require_no_choice(source, "imitation's trajectories have one observation array, obs, and one of actions, acts")
        spec = own or self._spec(files, schema, source)
        if "rews" not in schema.names:
            report(Finding(file=str(source), what="holds no rewards: they are 0"))
        load = partial(self._episode, spec=spec, own=own is not None, source=source, note=Once(report))
        loaders = ((name, partial(load, row)) for name, row in _rows(files))
        return Contents(spec=spec, episodes=loaders, stem=source.name)

    def _spec(self, files: list[Path], schema: pa.Schema, source: Path) -> StoreSpec:
        try:
            first = next((row["obs"].values for _, row in _rows(files)), None)
            if first is None:
                raise InputError(f"{source}: holds no trajectories")
            shape = from_lists(first).shape[1:]
            actions = (from_lists(row["acts"].values) for _, row in _rows(files))
            action = action_of(actions)
        except BadEpisodeError as bad:
            raise InputError(f"{source}: {bad.what}; is it imitation's?") from None
        leaf = leaf_of("obs", shape, numpy_dtype(schema.field("obs").type))
        return StoreSpec(observation=SpaceSpec(tree="obs", leaves=(leaf,)), action=action, infos=self.infos)

    def _episode(self, row: Mapping[str, Any], *, spec: StoreSpec, own: bool, source: Path, note: Once) -> Episode:
        actions = from_lists(row["acts"].values)
        num, leaf = len(actions), spec.observation.leaf
        infos = _infos(row, num)
        terminal, limit = bool(row["terminal"].as_py()), infos[-1].get(_LIMIT) if infos else None
        if terminal and not isinstance(limit, bool):
            what = f"`terminal` doesn't say whether a limit ended it: taken as {self.terminal} (terminal=...)"
            note(Finding(file=str(source), what=what))
        terminated = not limit if isinstance(limit, bool) else self.terminal == "terminated"
        rewards = from_lists(row["rews"].values) if "rews" in row else np.zeros(num)
        if rewards.shape != (num,):
            raise BadEpisodeError(f"has {len(rewards)} rewards for {num} actions")
        episode = demonstration(
            observations={leaf.name: fit(from_lists(row["obs"].values), leaf, num + 1)},
            actions=fit(actions, spec.action.leaf, num),
            rewards=rewards,
            terminated=terminal and terminated,
            truncated=not (terminal and terminated),
            labelled=self.demonstrations,
            source=f"imitation:{source.name}",
            success=success_of(infos),
            infos=_chosen(infos, spec.infos) if spec.infos and not own else None,
        )
        return _with_own(episode, infos, spec.action.leaf) if own else episode


def _files(source: Path) -> list[Path]:
    if source.is_file():
        raise InputError(f"{source}: a file isn't read, as imitation's are pickles, which can run code; save a folder with it")
    try:
        state = json.loads((source / "state.json").read_bytes())
        names = [str(item["filename"]) for item in state["_data_files"]]
        indices = state.get("_indices_data_files") or (source / "indices.arrow").exists()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source}: no Hugging Face dataset there (state.json: {error})") from None
    if indices:
        raise InputError(f"{source}: it's a selection of another dataset; save it with flatten_indices() first")
    require_inside(source)
    if not names or any(Path(name).name != name for name in names):
        raise InputError(f"{source}: state.json names no files in the folder itself")
    return [source / name for name in names]


def _own(source: Path) -> StoreSpec | None:
    if not (source / _OWN).exists():
        return None
    try:
        data = json.loads((source / _OWN).read_bytes())
    except (OSError, ValueError):
        data = {}
    return spec_from_json(data, str(source / _OWN))


def _open(path: Path) -> pa.RecordBatchStreamReader:
    try:
        return pa.ipc.open_stream(pa.memory_map(str(path)))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: can't be read as an Arrow stream: {one_line(error)}") from None


def _rows(files: list[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name, and column -> scalar, of each trajectory."""
    number = 0
    for path in files:
        try:
            for batch in open_arrow(path):
                for row in range(batch.num_rows):
                    yield str(number), {name: batch.column(name)[row] for name in batch.schema.names}
                    number += 1
        except InputError as error:
            raise InputError(f"{error} (after trajectory {number})") from None


def _infos(row: Mapping[str, Any], num: int) -> list[dict[str, Any]]:
    """Return the steps' infos as plain JSON data."""
    texts = row["infos"].as_py() if "infos" in row else None
    if texts is None:
        return []
    infos = []
    for step, text in enumerate(texts):
        try:
            info = json.loads(text)
        except (TypeError, ValueError):
            raise BadEpisodeError("its info isn't JSON", step=step) from None
        infos.append(info if isinstance(info, dict) else {})
    if len(infos) != num:
        raise BadEpisodeError(f"has {len(infos)} infos for {num} actions")
    return infos


def _chosen(infos: list[dict[str, Any]], names: tuple[str, ...]) -> tuple[str, ...]:
    for step, info in enumerate(infos):
        if set(names) - set(info):
            raise BadEpisodeError(f"its info has no {', '.join(sorted(set(names) - set(info)))}", step=step)
    return tuple(json.dumps({name: info[name] for name in names}) for info in infos)


def _with_own(episode: Episode, infos: list[dict[str, Any]], action: Leaf) -> Episode:
    """Return the episode with what `ImitationExport` put into the infos."""
    try:
        steps, about = [info["distil"] for info in infos], infos[0]["distil_episode"]
        num = episode.length
        arrays: dict[str, Array] = {
            name: fit(np.asarray([step[key] for step in steps], action.dtype), action, num)
            for name, key in (("actions", "action"), ("expert_actions", "expert_action"))
            if key in steps[0]
        }
        arrays |= {name: np.asarray([step[name] for step in steps], np.uint8) for name in ("labelled", "acted_by_expert")}
        texts = {"infos": tuple(str(step["info"]) for step in steps)} if "info" in steps[0] else {}
        ends = {name: bool(about[name]) for name in ("terminated", "truncated")}
        return Episode(**(vars(episode) | arrays | texts | ends | read_facts(about["facts"])))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadEpisodeError(f"the data that distil added is damaged ({error})") from None


class ImitationExport(Exporter):
    """Options to write a folder that `imitation.data.serialize.load` reads."""

    summary: ClassVar[str] = "imitation's trajectories: folder of a Hugging Face dataset"
    kind: Literal["imitation"] = "imitation"

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """See `Exporter.write`. imitation itself reads back every float as float64."""
        spec = snapshot.spec
        if len(spec.observation.leaves) != 1:
            names = ", ".join(leaf.name for leaf in spec.observation.leaves)
            raise InputError(f"{snapshot.path}: imitation's files hold one observation array, not {names}; use another format")
        with fresh(target) as part:
            part.mkdir()
            name = "data-00000-of-00001.arrow"
            with pa.OSFile(str(part / name), "wb") as file:
                self._write_rows(file, snapshot)
            state: dict[str, Any] = {"_data_files": [{"filename": name}], "_fingerprint": snapshot.digest[:16]}
            state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
            (part / "state.json").write_text(json.dumps(state | {"_split": None}))
            (part / "dataset_info.json").write_text(json.dumps({"citation": "", "description": "", "license": ""}))
            (part / _OWN).write_text(json.dumps(spec.to_json()))

    def _write_rows(self, file: Any, snapshot: Snapshot) -> None:
        writer, waiting, num_bytes = None, [], 0
        for index in range(snapshot.num_episodes):
            waiting.append(snapshot.episode(index))
            num_bytes += waiting[-1].length * snapshot.spec.row_bytes
            if num_bytes >= _TABLE_BYTES or index == snapshot.num_episodes - 1:
                batch = self._batch(waiting)
                writer = writer or pa.ipc.new_stream(file, batch.schema)
                writer.write_batch(batch)
                waiting, num_bytes = [], 0
        assert writer is not None
        writer.close()

    def _batch(self, episodes: list[Episode]) -> pa.RecordBatch:
        observations = [next(iter(episode.observations.values())) for episode in episodes]
        columns = {
            "obs": to_lists(observations),
            "acts": to_lists([self.chosen_actions(episode) for episode in episodes]),
            "infos": pa.array([self._info_texts(episode) for episode in episodes], pa.list_(pa.string())),
            "terminal": pa.array([episode.terminated or episode.truncated for episode in episodes]),
            "rews": to_lists([episode.rewards for episode in episodes]),
        }
        return pa.RecordBatch.from_pydict(columns)

    def _info_texts(self, episode: Episode) -> list[str]:
        infos: list[dict[str, Any]] = []
        for step in range(episode.length):
            own: dict[str, Any] = {
                "labelled": int(episode.labelled[step]),
                "acted_by_expert": int(episode.acted_by_expert[step]),
                "expert_action": episode.expert_actions[step].tolist(),
            }
            if self.actions == "expert":
                own["action"] = episode.actions[step].tolist()
            if episode.infos is not None:
                own["info"] = episode.infos[step]
            infos.append({"distil": own})
        ends = {"terminated": episode.terminated, "truncated": episode.truncated}
        infos[0]["distil_episode"] = {"facts": facts(episode), **ends}
        infos[-1][_LIMIT] = episode.truncated and not episode.terminated
        return [json.dumps(info) for info in infos]

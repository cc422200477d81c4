"""LeRobot datasets, format v3, written without LeRobot: its own loader reads them (`LeRobotDataset(repo_id, root=...)`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from distil.interchange.base import Exporter, fresh
from distil.interchange.episodes import Finding, Report, facts
from distil.interchange.lerobot_features import Feature, arrow_type, dtype_of, features_of, task_table, to_arrow, video_info
from distil.interchange.lerobot_stats import Statistics, merged, statistics
from distil.interchange.mp4 import Codec, Mp4Writer
from distil.interchange.pictures import png
from distil.spaces import Leaf
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.types import Array, Episode

_CHUNK_FILES = 1000
_DATA_BYTES, _VIDEO_BYTES = 100 << 20, 200 << 20  # LeRobot's own sizes
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_EPISODES = "meta/episodes/chunk-000/file-000.parquet"
_OWN = "meta/distil/episodes.parquet"
_META_EPISODES = 500  # whose metadata is held before it is written
_COUNTERS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}
_STEP_FEATURES = {
    "next.reward": "float64",
    "next.done": "bool",
    "next.terminated": "bool",
    "next.truncated": "bool",
    "labelled": "bool",
    "acted_by_expert": "bool",
}


class LeRobotExport(Exporter):
    """Writes a LeRobot v3 dataset folder. RGB images become MP4s (small, with loss) or PNGs (exact)."""

    summary: ClassVar[str] = "LeRobot v3 dataset folder: Parquet and MP4"
    kind: Literal["lerobot"] = "lerobot"
    images: Literal["video", "png"] = "video"
    codec: Codec = "h264"
    crf: int = Field(default=18, ge=0, le=51)  # of videos: less is better and larger
    fps: int = Field(default=30, ge=1)  # the environment's steps a second
    task: str = ""  # what the episodes show, in words; default: the environment's id
    robot_type: str = ""

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """See `Exporter.write`."""
        layout = features_of(snapshot.spec, self.images)
        if any(item.kind == "video" for item in layout):
            report(Finding(file=str(target), what="images are compressed with loss (crf=...); images=png keeps them exact"))
        report(
            Finding(file=str(target), what="LeRobot has no place for an episode's last observation; it is kept in meta/distil")
        )
        with fresh(target) as folder:
            writer = _Writer(self, snapshot.spec, layout, folder)
            try:
                for index in range(snapshot.num_episodes):
                    writer.add(snapshot.episode(index))
                writer.finish()
            finally:
                writer.abort()


@dataclass(kw_only=True)
class _Film:
    """The video files of one feature."""

    writer: Mp4Writer | None = None
    path: Path = Path()
    number: int = 0  # of files before this one
    pix_fmt: str = ""

    @property
    def num_bytes(self) -> int:
        """Size of the current file so far; ffmpeg makes it when the first frames are coded."""
        return self.path.stat().st_size if self.path.is_file() else 0


@dataclass
class _Writer:
    options: LeRobotExport
    spec: StoreSpec
    layout: list[Feature]
    folder: Path
    episodes: list[dict[str, Any]] = field(default_factory=list)
    own: list[dict[str, Any]] = field(default_factory=list)
    stats: list[Statistics] = field(default_factory=list)
    num_frames: int = 0
    num_episodes: int = 0

    def __post_init__(self) -> None:
        action = self.spec.action.leaf
        shape, dtype = action.shape or (1,), dtype_of(action)
        names = ["action", "expert_action"] + ["executed_action"] * (self.options.actions == "expert")
        self._actions = [Feature(name=name, leaf=action, kind=dtype, shape=shape) for name in names]
        self._films = {item.name: _Film() for item in self.layout if item.kind == "video"}
        self._data: pq.ParquetWriter | None = None
        self._data_bytes, self._data_number = 0, 0
        self._meta: dict[str, pq.ParquetWriter] = {}
        self._task = self.options.task or str(self.spec.env.get("id") or "demonstration")
        self.schema = self._schema()

    def add(self, episode: Episode) -> None:
        """Write one episode's rows and frames, and note its metadata."""
        num, number = episode.length, self.num_episodes
        pictures: dict[str, Array] = {}
        columns = self._columns(episode, number)
        row: dict[str, Any] = {"episode_index": number, "tasks": [self._task], "length": num}
        for item in self.layout:
            values = item.rows(episode.observations[item.leaf.name][:num])
            if item.kind == "video":
                row |= self._film(item.name, values)
            if item.kind in ("video", "image"):
                pictures[item.name] = values
            else:
                columns[item.name] = values
        stats = statistics(columns, pictures)
        self.stats.append(stats)
        row |= self._write_rows(columns, pictures, episode)
        row |= {"dataset_from_index": self.num_frames, "dataset_to_index": self.num_frames + num}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        row |= {f"stats/{name}/{key}": value.tolist() for name, found in stats.items() for key, value in found.items()}
        self.episodes.append(row)
        final = b"".join(np.ascontiguousarray(episode.observations[leaf.name][-1]).tobytes() for leaf in self._leaves())
        self.own.append({"episode_index": number, "length": num, "facts": json.dumps(facts(episode)), "final": final})
        self.num_frames, self.num_episodes = self.num_frames + num, number + 1
        if len(self.episodes) >= _META_EPISODES:
            self._write_meta()

    def _write_meta(self) -> None:
        for name, rows in ((_EPISODES, self.episodes), (_OWN, self.own)):
            table = pa.Table.from_pylist(rows)
            if name not in self._meta:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                self._meta[name] = pq.ParquetWriter(self.folder / name, table.schema)
            self._meta[name].write_table(table)
            rows.clear()
        self.stats = [merged(self.stats)]

    def finish(self) -> None:
        """Close the files and write the metadata."""
        if self._data is not None:
            self._data.close()
            self._data = None
        for film in self._films.values():
            if film.writer is not None:
                film.writer.close()
                film.writer = None
        if self.episodes:
            self._write_meta()
        for meta in self._meta.values():
            meta.close()
        self._meta.clear()
        pq.write_table(task_table([self._task]), self.folder / "meta" / "tasks.parquet")
        found = {name: {key: v.tolist() for key, v in stat.items()} for name, stat in merged(self.stats).items()}
        _dump(self.folder / "meta" / "stats.json", found)
        _dump(self.folder / "meta" / "info.json", self._info())
        features = {item.leaf.name: item.name for item in self.layout}
        _dump(self.folder / "meta" / "distil" / "spec.json", {"spec": self.spec.to_json(), "features": features})

    def abort(self) -> None:
        """Close what is still open, after a failure."""
        for film in self._films.values():
            if film.writer is not None:
                film.writer.abort()
        for writer in (self._data, *self._meta.values()):
            if writer is not None:
                writer.close()

    def _leaves(self) -> tuple[Leaf, ...]:
        return self.spec.observation.leaves

    def _columns(self, episode: Episode, number: int) -> dict[str, Array]:
        num = episode.length
        last = np.arange(num) == num - 1
        chosen = self.options.chosen_actions(episode)
        by_name = {"action": chosen, "expert_action": episode.expert_actions, "executed_action": episode.actions}
        return {
            **{item.name: item.rows(by_name[item.name]) for item in self._actions},
            "next.reward": episode.rewards,
            "next.done": last & (episode.terminated or episode.truncated),
            "next.terminated": last & episode.terminated,
            "next.truncated": last & episode.truncated,
            "next.success": last & (episode.success is True),
            "labelled": episode.labelled.astype(bool),
            "acted_by_expert": episode.acted_by_expert.astype(bool),
            "timestamp": (np.arange(num) / self.options.fps).astype(np.float32),
            "frame_index": np.arange(num, dtype=np.int64),
            "episode_index": np.full(num, number, np.int64),
            "index": np.arange(self.num_frames, self.num_frames + num, dtype=np.int64),
            "task_index": np.zeros(num, np.int64),
        }

    def _film(self, name: str, frames: Array) -> dict[str, Any]:
        """Add an episode's frames to the feature's current video, and return where they are."""
        film = self._films[name]
        if film.writer is not None and film.num_bytes >= _VIDEO_BYTES:
            film.writer.close()
            film.writer, film.number = None, film.number + 1
        chunk, file = divmod(film.number, _CHUNK_FILES)
        if film.writer is None:
            film.path = self.folder / _VIDEO.format(video_key=name, chunk_index=chunk, file_index=file)
            film.writer = Mp4Writer(film.path, frames.shape[1:3], self.options.fps, self.options.codec, self.options.crf)
            film.pix_fmt = film.writer.pix_fmt
        first = film.writer.num_frames
        film.writer.write(frames)
        key, fps = f"videos/{name}", self.options.fps
        times = {f"{key}/from_timestamp": first / fps, f"{key}/to_timestamp": film.writer.num_frames / fps}
        return {f"{key}/chunk_index": chunk, f"{key}/file_index": file} | times

    def _write_rows(self, columns: Mapping[str, Array], pictures: Mapping[str, Array], episode: Episode) -> dict[str, int]:
        if self._data is not None and self._data_bytes >= _DATA_BYTES:
            self._data.close()
            self._data, self._data_bytes, self._data_number = None, 0, self._data_number + 1
        chunk, file = divmod(self._data_number, _CHUNK_FILES)
        if self._data is None:
            path = self.folder / _DATA.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = pq.ParquetWriter(path, self.schema)
        arrays = []
        for item in self.schema:
            if item.name == "infos":
                arrays.append(pa.array(list(episode.infos or ()), item.type))
            elif item.name in pictures:
                frames = [{"bytes": png(frame), "path": None} for frame in pictures[item.name]]
                arrays.append(pa.array(frames, item.type))
            else:
                arrays.append(to_arrow(columns[item.name]))
        table = pa.table(arrays, schema=self.schema)
        self._data.write_table(table)
        self._data_bytes += table.nbytes
        return {"data/chunk_index": chunk, "data/file_index": file}

    def _schema(self) -> pa.Schema:
        fields = [pa.field(item.name, arrow_type(item)) for item in (*self.layout, *self._actions) if item.kind != "video"]
        scalars = _STEP_FEATURES | {"next.success": "bool"} | _COUNTERS
        fields += [pa.field(name, pa.from_numpy_dtype(np.dtype(dtype))) for name, dtype in scalars.items()]
        return pa.schema(fields + ([pa.field("infos", pa.string())] if self.spec.infos else []))

    def _info(self) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for item in (*self.layout, *self._actions):
            film = self._films.get(item.name)
            codec, fps = self.options.codec, self.options.fps
            video = video_info(item.shape, codec=codec, pix_fmt=film.pix_fmt, fps=fps) if film else None
            features[item.name] = item.to_json(video)
        scalars = _STEP_FEATURES | {"next.success": "bool"} | ({"infos": "string"} if self.spec.infos else {}) | _COUNTERS
        features |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in scalars.items()}
        return {
            "codebase_version": "v3.0",
            "robot_type": self.options.robot_type or None,
            "total_episodes": self.num_episodes,
            "total_frames": self.num_frames,
            "total_tasks": 1,
            "chunks_size": _CHUNK_FILES,
            "data_files_size_in_mb": _DATA_BYTES >> 20,
            "video_files_size_in_mb": _VIDEO_BYTES >> 20,
            "fps": self.options.fps,
            "splits": {"train": f"0:{self.num_episodes}"},
            "data_path": _DATA,
            "video_path": _VIDEO if self._films else None,
            "features": features,
        }


def _dump(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=4))

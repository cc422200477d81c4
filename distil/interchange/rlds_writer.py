"""RLDS datasets as TensorFlow Datasets keeps them, written without TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import numpy as np

from distil.interchange.base import Exporter, fresh
from distil.interchange.episodes import Report, facts
from distil.interchange.rlds_features import Kind, features_json
from distil.interchange.tfrecord import Feature, make_example, write_record
from distil.spaces import Leaf
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.types import Array, Episode

_MARKS = ("labelled", "acted_by_expert")
_SHARD_BYTES = 128 << 20


class RldsExport(Exporter):
    """Writes an RLDS dataset folder; `tensorflow_datasets.builder_from_directory(folder)` reads it. Nothing is lost."""

    summary: ClassVar[str] = "RLDS dataset folder of TensorFlow Datasets: TFRecord"
    kind: Literal["rlds"] = "rlds"

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """See `Exporter.write`."""
        spec = snapshot.spec
        kinds = _layout(spec)
        name = re.sub(r"\W+", "_", target.name.lower()).strip("_") or "demonstrations"
        with fresh(target) as folder:
            folder.mkdir()
            file: IO[bytes] | None = None
            shards: list[list[int]] = []  # number of episodes and bytes of each
            try:
                for index in range(snapshot.num_episodes):
                    if file is None:
                        file = open(folder / f"{len(shards)}.part", "wb")  # noqa: SIM115 (several episodes, then the next)
                        shards.append([0, 0])
                    episode = snapshot.episode(index)
                    data = _record(kinds, episode, self.chosen_actions(episode))
                    write_record(file, data)
                    shards[-1][0] += 1
                    shards[-1][1] += len(data)
                    if shards[-1][1] >= _SHARD_BYTES:
                        file.close()
                        file = None
            finally:
                if file is not None:
                    file.close()
            for number in range(len(shards)):
                (folder / f"{number}.part").rename(folder / f"{name}-train.tfrecord-{number:05d}-of-{len(shards):05d}")
            _dump(folder / "features.json", features_json(kinds))
            _dump(folder / "dataset_info.json", _dataset_info(name, shards))
            _dump(folder / "distil.json", spec.to_json())


def _layout(spec: StoreSpec) -> dict[str, Kind]:
    leaves = {leaf.name.replace("obs", "observation", 1): leaf for leaf in spec.observation.leaves}
    leaves |= dict.fromkeys(("action", "expert_action", "executed_action"), spec.action.leaf)
    flags = ("is_first", "is_last", "is_terminal", *_MARKS)
    return {
        **{name: _kind(leaf) for name, leaf in leaves.items()},
        **{name: Kind("tensor", "float64", (), "bytes") for name in ("reward", "discount")},
        **{name: Kind("tensor", "bool") for name in flags},
    }


def _kind(leaf: Leaf) -> Kind:
    if leaf.is_image and len(leaf.shape) == 3 and leaf.shape[2] in (1, 3):
        return Kind("image", "uint8", leaf.shape)
    dtype = np.dtype(leaf.dtype)
    exact = dtype in (np.dtype(np.float32), np.dtype(np.bool_)) or (dtype.kind in "iu" and int(np.prod(leaf.shape)) <= 16)
    return Kind("tensor", dtype.name, leaf.shape, "none" if exact else "bytes")


def _record(kinds: Mapping[str, Kind], episode: Episode, chosen: Array) -> bytes:
    num = episode.length

    def padded(values: Array) -> Array:
        return np.concatenate([values, np.zeros((1, *values.shape[1:]), values.dtype)])

    at = np.arange(num + 1)
    columns: dict[str, Array] = {name.replace("obs", "observation", 1): rows for name, rows in episode.observations.items()}
    columns |= {
        "action": padded(chosen),
        "expert_action": padded(episode.expert_actions),
        "executed_action": padded(episode.actions),
        "reward": padded(episode.rewards),
        "discount": np.where((at == num) & episode.terminated, 0.0, 1.0),
        "is_first": at == 0,
        "is_last": at == num,
        "is_terminal": (at == num) & episode.terminated,
        **{name: padded(getattr(episode, name)).astype(bool) for name in _MARKS},
    }
    about = facts(episode) | {"terminated": episode.terminated, "truncated": episode.truncated, "infos": episode.infos}
    features: dict[str, Feature] = {f"steps/{name}": kinds[name].encode(rows) for name, rows in columns.items()}
    return make_example(features | {"episode_metadata/distil": [json.dumps(about).encode()]})


def _dataset_info(name: str, shards: list[list[int]]) -> dict[str, Any]:
    split = {
        "name": "train",
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "numBytes": str(sum(shard[1] for shard in shards)),
        "shardLengths": [str(shard[0]) for shard in shards],
    }
    return {"fileFormat": "tfrecord", "name": name, "version": "1.0.0", "splits": [split]}


def _dump(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2))

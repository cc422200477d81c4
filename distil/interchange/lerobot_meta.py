"""What a LeRobot v3 dataset says of itself: `meta/info.json`, `meta/episodes`, its features, and distil's additions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distil.errors import InputError, RunError
from distil.interchange.columns import parquet_files, to_numpy
from distil.interchange.episodes import BadEpisodeError, one_line
from distil.types import Array

IMAGES = ("video", "image")  # dtypes of features


def read_info(source: Path) -> dict[str, Any]:
    """Return meta/info.json of the dataset in the folder `source`; InputError unless it is one of format v3."""
    path = source / "meta" / "info.json"
    try:
        info = json.loads(path.read_bytes())
        version, features = str(info["codebase_version"]), info["features"]
        broken = [name for name, feature in features.items() if not {"dtype", "shape"} <= set(feature)]
        if broken or not float(info["fps"]) > 0:
            raise ValueError(f"feature {broken[0]} has no dtype and shape" if broken else f"fps is {info['fps']}")
    except FileNotFoundError:
        raise InputError(f"{source}: no LeRobot dataset there (no meta/info.json); give its folder") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: can't be read: {one_line(error)}; give the folder of a whole LeRobot dataset") from None
    if not version.startswith("v3."):
        raise InputError(
            f"{source}: LeRobot format {version}, only v3 is read; convert it with LeRobot's own converter to v3.0"
        )
    return dict(info)


def read_episodes(source: Path) -> dict[int, dict[str, Any]]:
    """Return episode number -> its row of meta/episodes, without the statistics."""
    out: dict[int, dict[str, Any]] = {}
    for file in parquet_files(source / "meta" / "episodes"):
        try:
            names = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
            rows = pq.read_table(file, columns=names, use_threads=False, partitioning=None).to_pylist()
            for row in rows:
                if int(row["episode_index"]) in out:
                    raise RunError(f"{file}: lists episode {row['episode_index']} twice; restore it from a copy")
                out[int(row["episode_index"])] = row
        except (pa.ArrowException, OSError, KeyError) as error:
            raise RunError(f"{file}: can't be read ({str(error).splitlines()[0][:200]}); restore it from a copy") from None
    return out


def read_own(source: Path, meta: dict[int, dict[str, Any]]) -> bool:
    """Add what distil added to the format to `meta`; False when there is none, or the dataset was edited since."""
    folder = source / "meta" / "distil"
    if not (folder / "spec.json").is_file():
        return False
    rows = pq.read_table(folder / "episodes.parquet", use_threads=False, partitioning=None).to_pylist()
    if {row["episode_index"]: row["length"] for row in rows} != {number: row["length"] for number, row in meta.items()}:
        return False
    for row in rows:
        meta[row["episode_index"]]["distil"] = row
    return True


def frame_shape(feature: Mapping[str, Any]) -> tuple[int, ...]:
    """Return one frame's shape; images are decoded with their channels last, also where the feature lists them first."""
    shape = tuple(int(size) for size in feature["shape"])
    names: Any = feature.get("names") or []
    if feature["dtype"] in IMAGES and isinstance(names, Sequence) and names and str(names[0]).startswith("channel"):
        return (*shape[1:], shape[0])
    return shape


def why_not(feature: Mapping[str, Any]) -> str:
    """Return why a feature can't be an observation, or nothing."""
    kind = str(feature["dtype"])
    try:
        return "" if kind in IMAGES or np.dtype(kind).kind in "biuf" else "text" if np.dtype(kind).kind in "US" else kind
    except TypeError:
        return "text" if kind == "string" else kind


def column(table: pa.Table, name: str, shape: tuple[int, ...]) -> Array:
    """Return a feature's frames, [T, *shape]; BadEpisodeError if there is none of that name or its shape differs."""
    if name not in table.column_names:
        raise BadEpisodeError(f"has no column {name!r}")
    values = to_numpy(table[name], table.schema.field(name))
    if values.size != len(values) * int(np.prod(shape)):
        raise BadEpisodeError(f"{name} is {list(values.shape[1:])} a frame, should be {list(shape)}")
    return values.reshape(len(values), *shape)

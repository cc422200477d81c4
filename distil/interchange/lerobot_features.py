"""Features of the LeRobot v3 datasets that distil writes, and their columns in Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from distil.errors import InputError
from distil.spaces import Leaf
from distil.store.schema import StoreSpec
from distil.types import Array


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature that holds an observation or an action."""

    name: str
    leaf: Leaf
    kind: str  # "video", "image", or the dtype
    shape: tuple[int, ...]  # of one frame as LeRobot has it

    def rows(self, values: Array) -> Array:
        """Return [T, *shape]: images with their channels last."""
        if self.kind in ("video", "image") and values.shape[1:] != self.shape:
            values = np.moveaxis(values, 1, -1)
        return values.reshape(len(values), *self.shape)

    def to_json(self, info: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return its entry in meta/info.json; `info` is that of a video."""
        names = ["height", "width", "channels"] if self.kind in ("video", "image") else None
        return {"dtype": self.kind, "shape": list(self.shape), "names": names} | ({"info": dict(info)} if info else {})


def features_of(spec: StoreSpec, images: Literal["video", "png"]) -> list[Feature]:
    """Return the observations' features, RGB images as `images`; InputError when two would have the same name."""
    out = []
    for leaf in spec.observation.leaves:
        is_rgb = leaf.is_image and len(leaf.shape) == 3 and 3 in (leaf.shape[0], leaf.shape[2])
        key = leaf.name.removeprefix("obs").removeprefix("/").replace("/", ".")
        if is_rgb:
            shape = leaf.shape if leaf.shape[2] == 3 else (*leaf.shape[1:], 3)
            name = f"observation.images.{key}" if key else "observation.image"
            out.append(Feature(name=name, leaf=leaf, kind="video" if images == "video" else "image", shape=shape))
        else:
            out.append(Feature(name=f"observation.{key or 'state'}", leaf=leaf, kind=dtype_of(leaf), shape=leaf.shape or (1,)))
    names = [item.name for item in out]
    if len(set(names)) != len(names):
        raise InputError(f"two observations would have the same name in LeRobot ({', '.join(names)}); rename the space's keys")
    return out


def dtype_of(leaf: Leaf) -> str:
    """Return a leaf's dtype, as LeRobot names it."""
    return str(np.dtype(leaf.dtype))


def video_info(shape: tuple[int, ...], *, codec: str, pix_fmt: str, fps: int) -> dict[str, Any]:
    """Return what LeRobot keeps of a video of frames of `shape`, [height, width, 3]."""
    return {
        "video.height": shape[0],
        "video.width": shape[1],
        "video.channels": 3,
        "video.codec": codec,
        "video.pix_fmt": pix_fmt,
        "video.is_depth_map": False,
        "video.fps": fps,
        "has_audio": False,
    }


def arrow_type(item: Feature) -> pa.DataType:
    """Return the type of its column."""
    if item.kind == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind = pa.from_numpy_dtype(np.dtype(item.kind))
    if item.shape == (1,):
        return kind
    if len(item.shape) == 1:
        return pa.list_(kind, item.shape[0])
    for _ in item.shape:
        kind = pa.list_(kind)
    return kind


def to_arrow(values: Array) -> pa.Array:
    """Return a number a row, a list of a fixed size, or nested lists."""
    if values.ndim == 1 or values.shape[1:] == (1,):
        return pa.array(values.reshape(-1))
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    array = pa.array(values.reshape(-1))
    for size in reversed(values.shape[1:]):
        offsets = np.arange(0, len(array) + 1, size, dtype=np.int32)
        array = pa.ListArray.from_arrays(pa.array(offsets), array)
    return array


def task_table(tasks: list[str]) -> pa.Table:
    """Return what pandas reads as a frame of `task_index` whose index is the task's text."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "__index_level_0__": pa.array(tasks)})
    numbers = {
        "name": "task_index",
        "field_name": "task_index",
        "pandas_type": "int64",
        "numpy_type": "int64",
        "metadata": None,
    }
    index = {
        "name": None,
        "field_name": "__index_level_0__",
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": None,
    }
    about = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [],
        "columns": [numbers, index],
        "pandas_version": "2.2.0",
    }
    return table.replace_schema_metadata({b"pandas": json.dumps(about).encode()})

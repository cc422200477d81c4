"""What the steps of an RLDS dataset hold and how it is coded: features.json, as TensorFlow Datasets writes it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.pictures import decode_images, png
from distil.interchange.tfrecord import Feature
from distil.types import Array

_CLASSES = "tensorflow_datasets.core.features."


@dataclass(frozen=True)
class Kind:
    """How one entry of features.json is stored: "tensor", "image", "text", or something that can't be read, named."""

    what: str
    dtype: str = "uint8"
    shape: tuple[int, ...] = ()
    encoding: str = "none"  # of a tensor: none (numbers), bytes, zlib

    def decode(self, values: Feature, name: str) -> Array:
        """Return [rows, *shape]; BadEpisodeError if it isn't what features.json says."""
        if self.what == "image":
            return self._images(decode_images(values, name), name)
        size = int(np.prod(self.shape))
        if self.encoding != "none":
            values = self._unpack(values, size * np.dtype(self.dtype).itemsize, name)
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" or size < 1 or array.size % size:
            raise BadEpisodeError(f"{name} isn't {self.dtype} {list(self.shape)} a step")
        return array.astype(self.dtype).reshape(-1, *self.shape)

    def _images(self, frames: Array, name: str) -> Array:
        """Return decoded images; a float32 one, a depth map, is stored as the four bytes of each number (RGBA)."""
        if self.dtype != "float32":
            return frames
        if frames.dtype != np.uint8 or frames.shape[-1] != 4:
            raise BadEpisodeError(f"{name} isn't float32 images as TensorFlow Datasets codes them, four bytes a number")
        return np.ascontiguousarray(frames).view("<f4")

    def _unpack(self, values: Feature, row_bytes: int, name: str) -> Array:
        try:
            parts = [zlib.decompressobj().decompress(t, row_bytes + 1) if self.encoding == "zlib" else bytes(t) for t in values]
        except (zlib.error, TypeError) as error:
            raise BadEpisodeError(f"{name} can't be unpacked ({error})") from None
        wrong = [step for step, part in enumerate(parts) if len(part) != row_bytes]
        if wrong:
            raise BadEpisodeError(f"{name} isn't {self.dtype} {list(self.shape)}", step=wrong[0])
        return np.frombuffer(b"".join(parts), np.dtype(self.dtype))

    def encode(self, values: Array) -> Feature:
        """Return rows as features of a tf.train.Example."""
        if self.what == "image":
            return [png(frame) for frame in values]
        return values if self.encoding == "none" else [np.ascontiguousarray(row).tobytes() for row in values]

    def to_json(self) -> dict[str, Any]:
        """Return the entry of features.json."""
        shape = {"dimensions": [str(size) for size in self.shape]} if self.shape else {}
        if self.what == "text":
            return {"pythonClassName": f"{_CLASSES}text_feature.Text", "text": {}}
        if self.what == "image":
            image = {"shape": shape, "dtype": self.dtype, "encodingFormat": "png"}
            return {"pythonClassName": f"{_CLASSES}image_feature.Image", "image": image}
        tensor = {"shape": shape, "dtype": self.dtype, "encoding": self.encoding}
        return {"pythonClassName": f"{_CLASSES}tensor_feature.Tensor", "tensor": tensor}


def read_kinds(source: Path) -> dict[str, Kind]:
    """Return the steps' keys and how they are stored, from features.json."""
    path = source / "features.json"
    try:
        top = json.loads(path.read_bytes())["featuresDict"]["features"]
        steps = top["steps"]["sequence"]["feature"]["featuresDict"]["features"]
        out: dict[str, Kind] = {}
        _walk(steps, "", out)
    except (FileNotFoundError, NotADirectoryError):
        versions = [path.parent.relative_to(source).as_posix() for path in sorted(source.glob("**/features.json"))[:5]]
        below = f", such as {', '.join(versions)}" if versions else ""
        raise InputError(f"{source}: no RLDS dataset there (no features.json); give the folder of one version{below}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not an RLDS dataset: its episodes have no steps ({type(error).__name__}: {error})") from None
    return out


def _walk(features: Mapping[str, Any], path: str, out: dict[str, Kind]) -> None:
    for name, feature in features.items():
        if "featuresDict" in feature:
            _walk(feature["featuresDict"]["features"], f"{path}{name}/", out)
        elif "tensor" in feature or "image" in feature:
            what = "tensor" if "tensor" in feature else "image"
            data = feature[what]
            shape = tuple(max(0, int(size)) for size in data.get("shape", {}).get("dimensions", ()))
            if data["dtype"] in ("string", "object"):
                out[f"{path}{name}"] = Kind("several texts a step" if shape else "text")
                continue
            try:
                dtype = np.dtype(data["dtype"]).name
            except TypeError:
                out[f"{path}{name}"] = Kind(f"numbers of type {data['dtype']}")
                continue
            if what == "tensor" and 0 in shape:
                out[f"{path}{name}"] = Kind("numbers of an open shape")
                continue
            out[f"{path}{name}"] = Kind(what, dtype, shape, str(data.get("encoding") or "none"))
        elif "classLabel" in feature:
            out[f"{path}{name}"] = Kind("tensor", "int64")
        elif "text" in feature:
            out[f"{path}{name}"] = Kind("text")
        else:
            out[f"{path}{name}"] = Kind(next((f"{key} data" for key in feature if key != "pythonClassName"), "unknown"))


def features_json(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return features.json of episodes whose steps hold `kinds` (keys are paths)."""
    tree: dict[str, Any] = {}
    for path, kind in kinds.items():
        *parents, last = path.split("/")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = kind
    steps = {"feature": _features_dict(tree), "length": "-1"}
    sequence = {"pythonClassName": f"{_CLASSES}dataset_feature.Dataset", "sequence": steps}
    return _features_dict({"steps": sequence, "episode_metadata": _features_dict({"distil": Kind("text")})})


def _features_dict(tree: Mapping[str, Any]) -> dict[str, Any]:
    features = {}
    for name, node in tree.items():
        if isinstance(node, Kind):
            features[name] = node.to_json()
        else:
            features[name] = node if "pythonClassName" in node else _features_dict(node)
    return {"pythonClassName": f"{_CLASSES}features_dict.FeaturesDict", "featuresDict": {"features": features}}

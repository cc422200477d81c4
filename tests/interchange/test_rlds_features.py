from __future__ import annotations

import json
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distil.errors import InputError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.pictures import png
from distil.interchange.rlds_features import Kind, features_json, read_kinds

DATA = Path(__file__).parent / "data" / "rlds"


def test_the_features_of_a_real_dataset_are_understood() -> None:
    kinds = read_kinds(DATA)
    assert kinds["observation/image"] == Kind("image", "uint8", (8, 10, 3), "none")
    assert kinds["action"] == Kind("tensor", "float32", (3,), "none")
    assert kinds["is_last"] == Kind("tensor", "bool")
    assert kinds["language_instruction"].what == "text"


def test_what_is_written_is_understood(tmp_path: Path) -> None:
    kinds = {"observation/a/b": Kind("tensor", "float64", (2, 3), "bytes"), "x": Kind("image", "uint8", (8, 8, 1))}
    (tmp_path / "features.json").write_text(json.dumps(features_json(kinds)))
    assert read_kinds(tmp_path) == kinds | {"x": Kind("image", "uint8", (8, 8, 1), "none")}
    (tmp_path / "features.json").write_text("{}")
    with pytest.raises(InputError, match="not an RLDS dataset"):
        read_kinds(tmp_path)


@pytest.mark.parametrize(
    ("feature", "kind"),
    [
        ({"tensor": {"dtype": "string", "shape": {}}}, Kind("text")),
        ({"tensor": {"dtype": "string", "shape": {"dimensions": ["3"]}}}, Kind("several texts a step")),
        ({"tensor": {"dtype": "bfloat16", "shape": {}}}, Kind("numbers of type bfloat16")),
        ({"pythonClassName": "Video", "video": {}}, Kind("video data")),
        ({"sequence": {"feature": {}}}, Kind("sequence data")),
        ({"classLabel": {"numClasses": "4"}}, Kind("tensor", "int64")),
    ],
)
def test_what_is_no_array_is_named(tmp_path: Path, feature: dict[str, Any], kind: Kind) -> None:
    data = json.loads((DATA / "features.json").read_text())
    steps = data["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    steps["observation"]["featuresDict"]["features"]["new"] = feature
    (tmp_path / "1.0.0").mkdir()
    (tmp_path / "1.0.0" / "features.json").write_text(json.dumps(data))
    assert read_kinds(tmp_path / "1.0.0")["observation/new"] == kind
    with pytest.raises(InputError, match=r"give the folder of one version, such as 1\.0\.0"):
        read_kinds(tmp_path)


@pytest.mark.parametrize("encoding", ["none", "bytes", "zlib"])
def test_tensors_come_back_in_every_encoding(encoding: str) -> None:
    kind, values = Kind("tensor", "float32", (2,), encoding), np.arange(6, dtype=np.float32).reshape(3, 2)
    coded = kind.encode(values)
    if encoding == "zlib":
        coded = [zlib.compress(text) for text in coded]
    np.testing.assert_array_equal(kind.decode(coded, "x"), values)


@pytest.mark.parametrize("encoding", ["none", "bytes", "zlib"])
def test_values_that_do_not_fit_are_said(encoding: str) -> None:
    values = np.zeros(5, np.float32) if encoding == "none" else [b"abc"]
    with pytest.raises(BadEpisodeError, match=r"x (isn't|can't)"):
        Kind("tensor", "float32", (2,), encoding).decode(values, "x")


def test_depth_maps() -> None:
    """TensorFlow Datasets codes float32 images as RGBA, and 16-bit ones as grey PNG."""
    depth = np.random.default_rng(0).uniform(0, 9, (3, 6, 5, 1)).astype(np.float32)
    coded = []
    for frame in depth:
        out = BytesIO()
        Image.fromarray(frame.view(np.uint8)).save(out, "PNG")
        coded.append(out.getvalue())
    np.testing.assert_array_equal(Kind("image", "float32", (6, 5, 1)).decode(coded, "depth"), depth)
    with pytest.raises(BadEpisodeError, match="depth isn't float32 images"):
        Kind("image", "float32", (6, 5, 1)).decode([png(np.zeros((6, 5, 3), np.uint8))], "depth")
    far = np.random.default_rng(0).integers(0, 1 << 16, (2, 6, 5)).astype(np.uint16)
    coded = []
    for frame in far:
        out = BytesIO()
        Image.fromarray(frame).save(out, "PNG")
        coded.append(out.getvalue())
    np.testing.assert_array_equal(Kind("image", "uint16", (6, 5, 1)).decode(coded, "depth")[..., 0], far)

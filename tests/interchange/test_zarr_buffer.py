from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError
from distil.interchange.zarr_buffer import Buffer

zarr = pytest.importorskip("zarr", reason="needs pip install 'distil[zarr]'")


def buffer(path: Path, **arrays: Any) -> Path:
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.require_group("meta").create_array("episode_ends", data=np.array([3]), chunks=(1,))
    for name, values in arrays.items():
        root.require_group("data").create_array(name, data=values, chunks=(100, *values.shape[1:]))
    return path


def zipped(path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    target = path.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", compression) as file:
        for part in sorted(path.rglob("*")):
            if part.is_file():
                file.write(part, part.relative_to(path).as_posix())
    return target


def change(path: Path, name: str, **changes: Any) -> None:
    file = path / name / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("name", ["data/x", "meta/episode_ends"])
@pytest.mark.parametrize("changes", [{"shape": [1 << 32]}, {"chunks": [1 << 34]}])
def test_sizes_are_checked(tmp_path: Path, form: str, name: str, changes: dict[str, Any]) -> None:
    path = buffer(tmp_path / "a.zarr", x=np.arange(3.0))
    change(path, name, **changes)
    with pytest.raises(InputError, match=rf"{name}: claims [\d,]{{13,}} bytes"):
        Buffer(zipped(path) if form == "zip" else path).array(name)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_constants_load(tmp_path: Path, form: str) -> None:
    """Chunks of fill values are left out, and others shrink a thousandfold: neither is a lie."""
    ones = np.ones((9000, 96, 96), np.uint8)
    path = buffer(tmp_path / "a.zarr", zeros=np.zeros((1000, 96, 96), np.uint8), ones=ones)
    opened = Buffer(zipped(path, zipfile.ZIP_DEFLATED) if form == "zip" else path)
    assert not opened.array("data/zeros")[0:3].any()
    assert opened.array("data/ones")[8000:8003].all()


def test_links_out_are_refused(tmp_path: Path) -> None:
    path = buffer(tmp_path / "a.zarr", x=np.arange(3.0))
    chunk = path / "data" / "x" / "0"
    chunk.rename(tmp_path / "secret")
    chunk.symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"data/x/0: a link that leads out"):
        Buffer(path)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = zipped(buffer(tmp_path / "a.zarr", x=np.arange(3.0)))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as file, file.open("data/x/1", "w", force_zip64=True) as entry:
        for _ in range(80):
            entry.write(bytes(1 << 20))
    assert path.stat().st_size < 30_000
    with pytest.raises(InputError, match=r"data/x/1: claims 83,886,080 bytes"):
        Buffer(path)


def test_kinds_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    path = buffer(tmp_path / "a.zarr", x=np.arange(3.0), day=np.array(["2020-01-01"] * 3, "M8[ns]"))
    opened = Buffer(path)
    assert (opened.fault("data/x"), opened.fault("data/day")) == ("", "dates (<M8[ns])")
    with pytest.raises(InputError, match=r"data/day: it holds dates \(<M8\[ns\]\), not numbers"):
        opened.array("data/day")
    root = zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=3)
    root.require_group("meta").create_array("episode_ends", data=np.array([3]), chunks=(1,))
    metadata = json.loads((tmp_path / "b.zarr" / "meta" / "episode_ends" / "zarr.json").read_text())
    metadata["data_type"] = {"name": "numpy.datetime64", "configuration": {"unit": "ns", "scale_factor": 1}}
    (tmp_path / "b.zarr" / "data" / "day").mkdir(parents=True)
    (tmp_path / "b.zarr" / "data" / "day" / "zarr.json").write_text(json.dumps(metadata))
    assert Buffer(tmp_path / "b.zarr").fault("data/day") == "numpy.datetime64"

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.errors import InputError
from distil.interchange.hdf5_files import open_hdf5

h5py = pytest.importorskip("h5py", reason="needs pip install 'distil[hdf5]'")


def write(path: Path, make: Callable[[Any], object]) -> Path:
    with h5py.File(path, "w") as file:
        make(file)
    return path


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (10,))
    file.create_virtual_dataset("a/x", layout)


def deep(file: Any) -> None:
    for _ in range(40):
        file = file.create_group("x")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda f: f.__setitem__("a/x", h5py.ExternalLink("other.h5", "/x")), r"f.h5:/a/x: an external link"),
        (lambda f: f.create_dataset("a/x", (9,), "u1", external=[("other", 0, 9)]), r"/a/x: keeps its data in another file"),
        (virtual, r"/a/x: a virtual dataset"),
        (lambda f: f.create_dataset("x", (1 << 30, 8), "f4"), r"f.h5:/x: claims 34,359,738,368 bytes"),
        (lambda f: f.create_dataset("x", (1 << 30, 8), "f4", chunks=(1000, 8)), "claims 34,359,744,000 bytes"),
        (lambda f: f.create_dataset("x", (1 << 30, 8), "f4", chunks=(1 << 20, 8), compression="gzip"), "claims"),
        (lambda f: f.create_dataset("x", (1, 8), "f4", chunks=(1 << 26, 8), maxshape=(None, 8)), "claims"),
        (lambda f: [f.create_dataset(f"x{i}", (1 << 20, 16), "u1") for i in range(9)], "x4: claims"),
        (deep, "more than 32 groups inside one another"),
    ],
)
def test_what_is_elsewhere_or_too_large_is_refused(tmp_path: Path, make: Callable[[Any], object], text: str) -> None:
    path = write(tmp_path / "f.h5", make)
    assert path.stat().st_size < 1 << 16
    with pytest.raises(InputError, match=text):
        open_hdf5(path)


def test_what_is_sound_is_opened(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        file["a/x"] = np.arange(3)
        file["a/loop"] = file["/"]
        file["soft"] = h5py.SoftLink("/a/x")
        file["scalar"], file["text"], file["nothing"] = 3.0, "word", h5py.Empty("f4")
        zeros = np.zeros((9000, 96, 96), np.uint8)
        file.create_dataset("zeros", data=zeros, chunks=(1000, 96, 96), compression="gzip", compression_opts=9)
        group = file
        for _ in range(25):  # 2 ** 25 paths, 25 groups
            group["y"] = group.create_group("x")
            group = group["x"]

    path = write(tmp_path / "f.h5", make)
    assert path.stat().st_size < 83_000_000 / 500
    with open_hdf5(path) as file:
        assert file["soft"][:].tolist() == [0, 1, 2]
        assert file["zeros"].shape == (9000, 96, 96)


def test_damage_is_an_input_error(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5", lambda f: [f.create_dataset(f"g{i}/x", data=np.arange(9)) for i in range(30)])
    raw = bytearray(path.read_bytes())
    for at in range(0, len(raw), 97):
        (tmp_path / "b.h5").write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
        with suppress(InputError):  # and nothing else
            open_hdf5(tmp_path / "b.h5").close()
    for bad in (b"", b"no", bytes(raw[:100]), bytes(raw[: len(raw) // 2])):
        (tmp_path / "b.h5").write_bytes(bad)
        with pytest.raises(InputError, match="can't be read as HDF5"):
            open_hdf5(tmp_path / "b.h5")

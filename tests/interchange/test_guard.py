from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from distil.errors import InputError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.guard import DEFLATE_RATIO, FREE_BYTES, Claims, files_inside, grid_bytes, read_npy


def npy(array: np.ndarray) -> bytes:
    out = BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_claims_are_bounded_by_what_is_stored() -> None:
    claims = Claims(1000)
    claims.add("a", 50_000, 1000, 50)  # may be all that is stored
    claims.add("b", FREE_BYTES + DEFLATE_RATIO * 1000, 0)  # fill values, as many as a source may have
    with pytest.raises(InputError, match="c: claims 1 bytes, which its 0 bytes on disk can't hold"):
        claims.add("c", 1, 0)
    with pytest.raises(InputError, match="d: claims"):  # a stored size is a claim too
        Claims(1000).add("d", 32 << 30, 32 << 30, 1)


def test_a_grid_counts_whole_chunks() -> None:
    assert grid_bytes((10, 3), (4, 2), 8) == 12 * 4 * 8
    assert grid_bytes((10, 3), None, 8) == 240
    assert grid_bytes((), None, 8) == 8


def test_links_out_and_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_text("four")
    (folder / "b").symlink_to(folder / "sub" / "a")
    assert sorted((path.as_posix(), size) for path, size in files_inside(folder)) == [("b", 4), ("sub/a", 4)]
    for make in (
        lambda path: path.symlink_to("../secret"),
        lambda path: path.symlink_to(tmp_path),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to(folder / "sub"),
        os.mkfifo,
    ):
        make(folder / "c")
        with pytest.raises(InputError, match="data/c: "):
            list(files_inside(folder))
        (folder / "c").unlink()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(3)])
def test_npy(array: np.ndarray) -> None:
    raw = npy(array)
    back = read_npy(BytesIO(raw), len(raw), "a")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_npy_that_lies() -> None:
    raw = npy(np.zeros((100, 3)))
    for bad, text in (
        (raw.replace(b"(100, 3)", b"(1<<33,)"), "can't be read as .npy"),
        (raw.replace(b"(100, 3), }    ", b"(4294967296, 3)}"), "claims 103,079,215,104 bytes and holds"),
        (raw.replace(b"(100, 3)", b"(-10, 3)"), "claims"),
        (raw[:-8], "claims|cut off"),
        (raw[:20], "can't be read"),
        (b"no", "can't be read"),
        (raw.replace(b"'<f8'", b"'|O' "), "objects"),
    ):
        with pytest.raises(BadEpisodeError, match=text):
            read_npy(BytesIO(bad), len(bad), "a")

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distil.errors import RunError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.mp4 import Codec, Mp4Reader, Mp4Writer, frame_times


def numbered(num: int, size: tuple[int, int]) -> np.ndarray:
    """Frames whose brightness is 7 times their number."""
    return np.arange(num, dtype=np.uint8)[:, None, None, None] * np.full((*size, 3), 7, np.uint8)


@pytest.mark.parametrize(("codec", "size"), [("h264", (36, 34)), ("h264", (17, 21)), ("av1", (64, 66))])
def test_frames_come_back_in_order(tmp_path: Path, codec: Codec, size: tuple[int, int]) -> None:
    frames = numbered(20, size)
    writer = Mp4Writer(tmp_path / "a" / "film.mp4", size, 10, codec, 20)
    writer.write(frames[:3])
    writer.write(frames[3:])
    writer.close()
    with Mp4Reader(tmp_path / "a" / "film.mp4") as reader:
        reader.skip(2)
        first, rest = reader.take(3), reader.take(100)
        assert reader.position == 20
        assert len(reader.take(1)) == 0
    both = np.concatenate([first, rest])
    assert both.shape == (18, *size, 3)
    assert np.abs(both.astype(int) - frames[2:]).max() <= 3


@pytest.mark.parametrize("codec", ["h264", "av1"])
@pytest.mark.parametrize("fps", [7, 30])
def test_when_frames_are_shown(tmp_path: Path, codec: Codec, fps: int) -> None:
    writer = Mp4Writer(tmp_path / "film.mp4", (64, 64), fps, codec, 20)
    writer.write(numbered(9, (64, 64)))
    writer.close()
    np.testing.assert_allclose(frame_times(tmp_path / "film.mp4"), np.arange(9) / fps, atol=1e-4)


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"nothing")
    with Mp4Reader(tmp_path / "film.mp4") as reader, pytest.raises(BadEpisodeError, match="the video can't be read"):
        reader.take(1)
    with pytest.raises(BadEpisodeError, match="the video can't be read"):
        frame_times(tmp_path / "film.mp4")


def test_damaged_frames_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    writer = Mp4Writer(path, (64, 64), 10, "h264", 20)
    writer.write(np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3)).astype(np.uint8))
    writer.close()
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 4
    data[at + 6000 : at + 6400] = bytes(400)
    path.write_bytes(data)
    with Mp4Reader(path) as reader, pytest.raises(BadEpisodeError, match="the video can't be read"):
        reader.take(12)


def write_much(writer: Mp4Writer) -> None:
    for _ in range(50):
        writer.write(numbered(20, (16, 16)))
    writer.close()


def test_a_video_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").mkdir()
    writer = Mp4Writer(tmp_path / "film.mp4", (16, 16), 10, "h264", 20)
    with pytest.raises(RunError, match=r"film.mp4: the video can't be written"):
        write_much(writer)
    writer.abort()

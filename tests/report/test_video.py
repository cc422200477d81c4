"""Videos, read back with ffmpeg."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest

from distil.errors import RunError
from distil.report import video


def read(path: Path, width: int, height: int) -> tuple[str, np.ndarray]:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = run(command, capture_output=True, check=True)
    return done.stderr.decode(), np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def test_video_can_be_read_back(tmp_path: Path) -> None:
    frames = np.zeros((12, 41, 63, 3), np.uint8)  # odd sizes lose a row and a column
    for i, frame in enumerate(frames):
        frame[:, 4 * i : 4 * i + 16] = (250, 120, 10)
    path = video(iter(frames), tmp_path / "videos" / "best.mp4", 25)
    about, got = read(path, 62, 40)
    assert got.shape == (12, 40, 62, 3)
    assert "25 fps" in about
    assert "h264" in about
    assert "yuv420p" in about
    assert np.abs(got.astype(int) - frames[:, :40, :62]).mean() < 6
    assert [p.name for p in path.parent.iterdir()] == ["best.mp4"]


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ([], "no frames"),
        ([np.zeros((8, 8), np.uint8)], r"shape \(8, 8\)"),
        ([np.zeros((8, 8, 3))], "float64"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], r"frame 1 is \(8, 10, 3\)"),
    ],
)
def test_a_failed_video_says_why_and_leaves_no_file(tmp_path: Path, frames: list[np.ndarray], fault: str) -> None:
    with pytest.raises(RunError, match=fault) as caught:
        video(frames, tmp_path / "x.mp4", 30)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_importing_report_is_cheap() -> None:
    heavy = "{'matplotlib', 'rich', 'imageio_ffmpeg', 'torch', 'mlflow'}"
    code = f"import sys, distil.report; print(sorted({heavy} & set(sys.modules)))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

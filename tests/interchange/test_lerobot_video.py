"""CORRECTNESS 37: a video's clock and frame count are compared with what the metadata says of its episodes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from distil.errors import RunError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.lerobot import LeRobotImport
from distil.interchange.lerobot_video import Span, match
from distil.interchange.mp4 import Mp4Writer
from distil.interchange.transfer import import_store
from distil.types import Array

DATA = Path(__file__).parent / "data" / "lerobot_v3"  # 3 episodes of 5, 3 and 4 steps, 10 a second
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"
LENGTHS = (5, 3, 4)


def spans(lengths: Sequence[int] = LENGTHS, fps: float = 10, offset: float = 0.0) -> list[Span]:
    starts = np.cumsum([0, *lengths]) / fps + offset
    return [Span(episode=i, length=n, start_s=starts[i], end_s=starts[i + 1]) for i, n in enumerate(lengths)]


def numbers(found: dict[int, Array]) -> list[list[int]]:
    return [found[i].tolist() for i in sorted(found)]


def test_frames_are_matched_with_steps() -> None:
    right = [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9, 10, 11]]
    said: list[str] = []
    assert numbers(match(np.arange(12) / 10, spans(), 10, said.append)) == right
    jitter = np.random.default_rng(0).uniform(-0.02, 0.02, 12) * (np.arange(12) > 0)
    assert numbers(match(np.arange(12) / 10 + jitter, spans(), 10, said.append)) == right  # hardware time stamps
    assert numbers(match(np.arange(15) / 10, spans(offset=0.2), 10, said.append)) == [[n + 2 for n in row] for row in right]
    assert numbers(match(np.zeros(1), spans((1,)), 10, said.append)) == [[0]]
    assert said == []
    assert numbers(match(np.arange(12) / 12, spans(fps=12), 10, said.append)) == right  # the metadata follow the video
    assert numbers(match(np.arange(24) / 20, spans(), 10, said.append)) == [[2 * n for n in row] for row in right]
    assert [text.split(":")[1] for text in said] == [
        " frames are taken one for one",
        " the frames at the steps' times are taken",
    ]


@pytest.mark.parametrize(
    ("times", "where", "what"),
    [
        (np.arange(12) / 12, spans(), r"12 frames at 12 a second, its episodes have 12 steps at 10 a second; 6 frames"),
        (np.arange(12) / 20, spans(), "12 frames at 20 a second"),  # also the early ones: theirs are later frames' times
        (np.arange(12) / 5, spans(), "12 frames at 5 a second"),
        (np.arange(11) / 10, spans(), "11 frames at 10 a second.* 3 frames are in the time of episode 2, which has 4 steps"),
        (np.delete(np.arange(12), 6) / 10, spans(), "2 frames are in the time of episode 1"),
        (np.arange(12) / 10, spans(fps=12), "contradicts"),
        (np.arange(12) / 10, [*spans((5, 3)), Span(episode=2, length=4, start_s=0, end_s=0.4)], "0 and 2 claim the same time"),
        (np.zeros(0), spans(), "no frames"),
    ],
)
def test_what_contradicts_is_refused(times: Array, where: list[Span], what: str) -> None:
    with pytest.raises(BadEpisodeError, match=what):
        match(times, where, 10, pytest.fail)


def made(root: Path, fps: int, num: int, times: float = 10) -> Path:
    """The real dataset with another video: `num` frames at `fps`, and metadata in a clock of `times` a second."""
    shutil.copytree(DATA, root)
    (root / VIDEO).unlink()
    writer = Mp4Writer(root / VIDEO, (64, 96), fps, "h264", 10)
    writer.write(np.repeat(np.arange(num, dtype=np.uint8) * 9, 64 * 96 * 3).reshape(num, 64, 96, 3))
    writer.close()
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table: Any = pq.read_table(path, partitioning=None)
    for name in ("from_timestamp", "to_timestamp"):
        at = table.column_names.index(f"videos/observation.images.top/{name}")
        bounds = np.cumsum([0, *LENGTHS])[slice(0, 3) if name[0] == "f" else slice(1, 4)]
        table = table.set_column(at, table.column_names[at], [list(bounds / times)])
    pq.write_table(table, path)
    return root


@pytest.mark.parametrize(("fps", "num", "times", "every"), [(10, 12, 10, 1), (10, 20, 10, 1), (12, 12, 12, 1), (20, 24, 10, 2)])
def test_each_step_gets_its_own_frame(tmp_path: Path, fps: int, num: int, times: int, every: int) -> None:
    snapshot = import_store(LeRobotImport(), made(tmp_path / "demos", fps, num, times), tmp_path / "store").snapshot
    first = 0
    for index, length in enumerate(LENGTHS):
        brightness = snapshot.episode(index).observations["obs/images.top"][:length].mean((1, 2, 3))
        np.testing.assert_allclose(brightness, 9 * every * (first + np.arange(length)), atol=3)
        first += length


@pytest.mark.parametrize(("fps", "num"), [(12, 12), (20, 12), (5, 12), (10, 11)])
def test_a_video_of_another_clock_spoils_all_its_episodes(tmp_path: Path, fps: int, num: int) -> None:
    root = made(tmp_path / "demos", fps, num)
    with pytest.raises(RunError, match=r"file-000\.mp4: episode 0: its video contradicts the metadata"):
        import_store(LeRobotImport(), root, tmp_path / "store")
    with pytest.raises(RunError, match="none of its episodes can be imported"):
        import_store(LeRobotImport(), root, tmp_path / "store", skip_bad=True)
    state = import_store(LeRobotImport(observations=("observation.state",)), root, tmp_path / "store")
    assert state.num_added == 3  # the numbers are right all the same


def test_a_dataset_that_says_another_rate(tmp_path: Path) -> None:
    root = made(tmp_path / "demos", 10, 12)
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"fps": 15}))
    result = import_store(LeRobotImport(), root, tmp_path / "store")  # one frame a step in each episode's time
    assert any("runs at 10 frames a second, meta/info.json says 15" in finding.what for finding in result.findings)

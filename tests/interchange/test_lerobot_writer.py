"""What LeRobot itself reads is checked where it is installed (it was, with LeRobot 0.4.4)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.interchange import lerobot_writer
from distil.interchange.lerobot import LeRobotImport
from distil.interchange.lerobot_writer import LeRobotExport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

MakeStore = Callable[..., Snapshot]
WITH_LEROBOT = pytest.mark.skipif(
    not importlib.util.find_spec("lerobot"), reason="LeRobot isn't installed (it needs a heavy environment)"
)
RGB = spaces.Box(0, 255, (34, 36, 3), np.uint8)


def alike(left: Any, right: Any) -> bool:
    """Whether two frames of noise are one and the same, but for what a video does to it: its brightness stays."""
    weights = np.array([0.299, 0.587, 0.114])
    return bool(np.corrcoef((left @ weights).ravel(), (right @ weights).ravel())[0, 1] > 0.9)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("images", ["png", "video"])
def test_a_store_comes_back_whole(
    make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path, mixed: bool, images: Any
) -> None:
    first = spaces.Box(0, 255, (3, 18, 20), np.uint8)
    grey = spaces.Box(0, 255, (9, 8), np.uint8)
    state = spaces.Tuple([spaces.Box(-1, 1, (2, 3), np.float64), spaces.Discrete(5)])
    before = make_store(observation=spaces.Dict(top=RGB, first=first, grey=grey, state=state), mixed=mixed)
    findings = export_store(LeRobotExport(images=images, crf=1), before, tmp_path / "out")
    assert sum("with loss" in finding.what for finding in findings) == (images == "video")
    result = import_store(LeRobotImport(), tmp_path / "out", tmp_path / "again")
    ours, theirs = all_episodes(before), all_episodes(result.snapshot)
    if images == "png":
        same(ours, theirs)
        assert result.snapshot.digest == before.digest
        return
    for left, right in zip(ours, theirs, strict=True):  # noise is the worst that a video can hold: colours are halved
        for name in ("obs/top", "obs/first"):
            error = left.observations[name].astype(int) - right.observations[name]
            assert error[:-1].any()
            assert not error[-1].any()
            right.observations[name][...] = left.observations[name]
    same(ours, theirs)


@pytest.mark.parametrize("action", [spaces.Discrete(3, start=1), spaces.MultiBinary(3), spaces.MultiDiscrete([2, 4])])
def test_every_kind_of_action_comes_back(
    make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path, action: Any
) -> None:
    before = make_store(action=action)
    export_store(LeRobotExport(), before, tmp_path / "out")
    same(all_episodes(before), all_episodes(import_store(LeRobotImport(), tmp_path / "out", tmp_path / "again").snapshot))


def test_many_files(make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("_DATA_BYTES", "_VIDEO_BYTES", "_META_EPISODES"):
        monkeypatch.setattr(lerobot_writer, name, 0)
    monkeypatch.setattr(lerobot_writer, "_CHUNK_FILES", 2)
    before = make_store(observation=spaces.Dict(top=RGB, x=spaces.Box(-1, 1, (2,), np.float32)), lengths=(4, 2, 7, 1))
    export_store(LeRobotExport(crf=1), before, tmp_path / "out")
    assert (tmp_path / "out" / "data" / "chunk-001" / "file-001.parquet").is_file()
    again = import_store(LeRobotImport(), tmp_path / "out", tmp_path / "again").snapshot
    for ours, theirs in zip(all_episodes(before), all_episodes(again), strict=True):
        np.testing.assert_array_equal(ours.observations["obs/x"], theirs.observations["obs/x"])
        for left, right in zip(ours.observations["obs/top"], theirs.observations["obs/top"], strict=True):
            assert alike(left, right)


def test_the_experts_actions_can_take_the_formats_place(
    make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path
) -> None:
    before = make_store()
    export_store(LeRobotExport(actions="expert"), before, tmp_path / "out")
    same(all_episodes(before), all_episodes(import_store(LeRobotImport(), tmp_path / "out", tmp_path / "again").snapshot))
    with pytest.raises(InputError, match="no expert's label at step"):
        export_store(LeRobotExport(actions="expert"), make_store(mixed=True, name="mixed"), tmp_path / "no")
    assert not (tmp_path / "no").exists()


@WITH_LEROBOT
@pytest.mark.parametrize("images", ["png", "video"])
@pytest.mark.filterwarnings("default")
def test_lerobot_reads_what_is_written(make_store: MakeStore, tmp_path: Path, images: Any) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    state = spaces.Box(-1, 1, (3,), np.float64)
    grid = spaces.Box(-1, 1, (2, 3), np.float32)
    before = make_store(
        observation=spaces.Dict(top=RGB, state=state, grid=grid, n=spaces.Discrete(5)), mixed=True, lengths=(4, 2, 7)
    )
    export_store(LeRobotExport(images=images, fps=20, crf=1, task="push"), before, tmp_path / "out")
    deltas = {"observation.state": [0.0], "action": [0.0, 0.05, 0.1]}
    dataset = LeRobotDataset("made/here", root=tmp_path / "out", delta_timestamps=deltas)
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (3, 13, 20)
    at = 0
    for number, length in enumerate((4, 2, 7)):
        episode = before.episode(number)
        for step in range(length):
            item = dataset[at]
            assert (item["episode_index"], item["frame_index"], item["task"]) == (number, step, "push")
            np.testing.assert_allclose(item["observation.state"][0], episode.observations["obs/state"][step])
            np.testing.assert_allclose(item["observation.grid"], episode.observations["obs/grid"][step])
            assert item["observation.n"] == episode.observations["obs/n"][step]
            np.testing.assert_allclose(item["action"][0], episode.actions[step])
            assert item["next.terminated"] == (step == length - 1 and episode.terminated)
            assert item["infos"] == episode.infos[step]
            shown = item["observation.images.top"].numpy().transpose(1, 2, 0) * 255
            error = np.abs(shown - episode.observations["obs/top"][step])
            assert error.max() < 0.01 or images == "video"
            assert alike(shown, episode.observations["obs/top"][step])
            at += 1
    np.testing.assert_allclose(
        dataset.meta.stats["action"]["mean"], np.concatenate([before.episode(i).actions for i in range(3)]).mean(0), rtol=1e-5
    )
    assert dataset.meta.stats["observation.images.top"]["mean"].shape == (3, 1, 1)
    assert tuple(dataset.meta.info["features"]["action"]["shape"]) == (2,)

"""`data/lerobot_v3` was made by LeRobot 0.4.4 with `lerobot_real.py`; where LeRobot is importable, it makes it anew."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.lerobot import LeRobotImport
from distil.interchange.lerobot_writer import LeRobotExport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

MakeStore = Callable[..., Snapshot]
DATA = Path(__file__).parent / "data" / "lerobot_v3"
LENGTHS = (5, 3, 4)
WITH_LEROBOT = pytest.mark.skipif(
    not importlib.util.find_spec("lerobot"), reason="LeRobot isn't installed (it needs a heavy environment)"
)
RGB = spaces.Box(0, 255, (34, 36, 3), np.uint8)


def real_module() -> Any:
    path = Path(__file__).parent / "lerobot_real.py"
    spec = importlib.util.spec_from_file_location("lerobot_real", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_real(snapshot: Snapshot, tolerance: int) -> None:
    assert tuple(snapshot.episodes.length) == LENGTHS
    assert snapshot.spec.observation.describe() == "obs/state: Box(2) float32, obs/images.top: Box(64, 96, 3) uint8"
    for number, length in enumerate(LENGTHS):
        episode = snapshot.episode(number)
        steps = np.minimum(np.arange(length + 1), length - 1)  # the last one stands in for what the format lacks
        states, images = episode.observations["obs/state"], episode.observations["obs/images.top"]
        np.testing.assert_array_equal(states, np.stack([100 * number + steps, -steps], 1))
        colours = np.stack([np.full(length + 1, 40 * number + 20), 15 * steps + 20, np.full(length + 1, 100)], 1)
        assert np.abs(images.astype(int) - colours[:, None, None, :]).max() <= tolerance
        np.testing.assert_array_equal(episode.actions, np.stack([np.arange(length), np.full(length, number)], 1))
        assert (episode.total_reward, episode.terminated, episode.truncated) == (1.0, True, False)
        assert episode.success is (number == 0)
        assert episode.labelled.all()


def test_what_lerobot_made_is_read(tmp_path: Path) -> None:
    result = import_store(LeRobotImport(), DATA, tmp_path / "store")
    check_real(result.snapshot, tolerance=6)
    said = " ".join(finding.what for finding in result.findings)
    assert "no observation after an episode's last action" in said
    assert "whether next.done is terminated or truncated" in said
    assert "compressed with loss" in said
    assert "its episodes are of" in said
    assert import_store(LeRobotImport(), DATA, tmp_path / "store").num_added == 0


@WITH_LEROBOT
@pytest.mark.parametrize("dtype", ["video", "image"])
@pytest.mark.filterwarnings("default")
def test_what_lerobot_makes_now_is_read(tmp_path: Path, dtype: str) -> None:
    real_module().make(tmp_path / "made", dtype)
    check_real(
        import_store(LeRobotImport(), tmp_path / "made", tmp_path / "store").snapshot, tolerance=0 if dtype == "image" else 6
    )


def test_options_choose_features_and_the_meaning_of_done(tmp_path: Path) -> None:
    """CORRECTNESS 1: what the format folds into `done` is the user's to tell apart."""
    options = LeRobotImport(
        observations=("observation.state",), done="truncated", final_observation="drop", infos=("task_index",)
    )
    snapshot = import_store(options, DATA, tmp_path / "store").snapshot
    episode = snapshot.episode(1)
    assert list(episode.observations) == ["obs"]
    assert (episode.length, len(episode.observations["obs"]), episode.terminated, episode.truncated) == (2, 3, False, True)
    assert episode.infos == ('{"task_index": 1}',) * 2
    with pytest.raises(InputError, match=r"no key 'observation.stat'; did you mean observation.state\?"):
        import_store(LeRobotImport(observations=("observation.stat",)), DATA, tmp_path / "other")


def test_an_edited_dataset_is_read_as_anybodys(make_store: MakeStore, tmp_path: Path) -> None:
    export_store(LeRobotExport(), make_store(), tmp_path / "out")
    path = tmp_path / "out" / "meta" / "distil" / "episodes.parquet"
    pq.write_table(pq.read_table(path, partitioning=None).slice(1), path)
    result = import_store(LeRobotImport(), tmp_path / "out", tmp_path / "again")
    assert any("no observation after" in finding.what for finding in result.findings)
    assert result.snapshot.episode(0).terminated is True


def described(root: Path, feature: dict[str, Any] | None = None, **info: Any) -> Path:
    """The real dataset with another meta/info.json."""
    shutil.copytree(DATA, root)
    data = json.loads((root / "meta/info.json").read_text())
    data["features"] |= {} if feature is None else {"observation.new": feature}
    (root / "meta/info.json").write_text(json.dumps(data | info))
    return root


@pytest.mark.parametrize(
    ("feature", "info", "what"),
    [
        ({"shape": [1]}, {}, "feature observation.new has no dtype and shape"),
        ({"dtype": "float32"}, {}, "feature observation.new has no dtype and shape"),
        (None, {"fps": 0}, "fps is 0"),
        (None, {"fps": "ten"}, "could not convert string to float: 'ten'"),
        (None, {"features": [1]}, "can't be read"),
    ],
)
def test_metadata_that_make_no_sense(tmp_path: Path, feature: Any, info: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=rf"info\.json: can't be read: .*{what}" if "read" not in what else what):
        import_store(LeRobotImport(), described(tmp_path / "demos", feature, **info), tmp_path / "store")


@pytest.mark.parametrize("dtype", ["string", "language"])
def test_text_is_left_out_and_said(tmp_path: Path, dtype: str) -> None:
    root = described(tmp_path / "demos", {"dtype": dtype, "shape": [1]})
    result = import_store(LeRobotImport(), root, tmp_path / "store")
    assert result.findings[0].what.startswith("left out, as only numbers are read: observation.new (")
    with pytest.raises(InputError, match=r"observation.new can't be taken: it is .*, not numbers; there are observation.state"):
        import_store(LeRobotImport(observations=("observation.new",)), root, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("next.done", [True] * 12, "episode 0, step 0: next.done before its last frame"),
        ("timestamp", [i / 25 for i in range(12)], "episode 0, step 1: its timestamp is 0.04 s, not 0.1 as 10 frames a second"),
        ("next.success", pa.array([None] * 12, pa.bool_()), None),
        ("next.success", [float("nan")] * 12, None),
    ],
)
def test_marks_that_say_too_much_or_nothing(tmp_path: Path, name: str, values: Any, what: str | None) -> None:
    shutil.copytree(DATA, tmp_path / "demos")
    path = tmp_path / "demos/data/chunk-000/file-000.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(values)), path)
    result = import_store(LeRobotImport(), tmp_path / "demos", tmp_path / "store")
    if what is not None:
        assert sum(what in str(finding) for finding in result.findings) == 1
    else:
        assert [result.snapshot.episode(i).success for i in range(3)] == [None] * 3


def test_episodes_without_steps_and_gaps_in_the_numbers(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "demos")
    path, data = (tmp_path / "demos" / x / "chunk-000/file-000.parquet" for x in ("meta/episodes", "data"))
    rows = pq.read_table(path, partitioning=None)
    again = rows.slice(2).to_pylist()[0] | {"length": 0}
    rows = pa.Table.from_pylist([*rows.to_pylist(), again], schema=rows.schema)
    numbers = {"meta": [0, 5, 9, 11], "data": [0] * 5 + [5] * 3 + [9] * 4}
    for file, table, key in ((path, rows, "meta"), (data, pq.read_table(data, partitioning=None), "data")):
        at = table.column_names.index("episode_index")
        pq.write_table(table.set_column(at, "episode_index", pa.array(numbers[key])), file)
    result = import_store(LeRobotImport(), tmp_path / "demos", tmp_path / "store")
    check_real(result.snapshot, tolerance=6)
    assert any("1 of its episodes have no steps: left out" in finding.what for finding in result.findings)


def broken(tmp_path: Path, fault: str) -> Path:
    root = tmp_path / "broken"
    shutil.copytree(DATA, root)
    data, film = root / "data/chunk-000/file-000.parquet", root / "videos/observation.images.top/chunk-000/file-000.mp4"
    table = pq.read_table(data, partitioning=None)
    if fault == "nan":
        values = table["observation.state"].to_pylist()
        values[6][1] = float("nan")
        column = pa.array(values, table.schema.field("observation.state").type)
        table = table.set_column(table.column_names.index("observation.state"), "observation.state", column)
    elif fault == "short":
        table = table.slice(0, 11)
    elif fault == "order":
        table = table.take([*range(5), 6, 5, *range(7, 12)])
    elif fault in ("index", "timestamp"):
        values = table[fault].to_pylist()
        values[6] = values[5]
        at = table.column_names.index(fault)
        table = table.set_column(at, table.schema.field(fault), pa.array(values, table.schema.field(fault).type))
    elif fault == "absent":
        table = table.take([*range(5), *range(8, 12)])
    elif fault == "success":
        at = table.column_names.index("next.done")
        table = table.set_column(at, "next.done", pa.array([0.0] * 7 + [float("nan")] + [0.0] * 4))
    elif fault == "torn":
        film.write_bytes(film.read_bytes()[:600])
    elif fault == "gone":
        film.unlink()
    pq.write_table(table, data)
    return root


@pytest.mark.parametrize(
    ("fault", "what", "kept"),
    [
        ("nan", r"file-000.parquet: episode 1, step 1: obs/state is NaN", 2),
        ("short", r"file-000.parquet: episode 2: has 3 frames, meta/episodes says 4", 2),
        ("order", r"episode 1, step 0: its frames aren't in order", 2),
        ("index", r"episode 1, step 1: its frames aren't in order: index", 2),
        ("timestamp", r"episode 1, step 1: its frames aren't in order: timestamp", 2),
        ("absent", r"data: episode 1: is in meta/episodes, but has no rows", 2),
        ("success", r"episode 1, step 2: next.done is nan, neither 0 nor 1", 2),
        ("torn", r"file-000.mp4: episode 0: the video can't be read", 0),
        ("gone", r"file-000.mp4: episode 0: its video is missing", 0),
    ],
)
def test_bad_rows_are_named_and_skipped_only_when_asked(tmp_path: Path, fault: str, what: str, kept: int) -> None:
    root = broken(tmp_path, fault)
    with pytest.raises(RunError, match=what):
        import_store(LeRobotImport(), root, tmp_path / "one")
    if kept:
        result = import_store(LeRobotImport(), root, tmp_path / "two", skip_bad=True)
        assert (result.snapshot.num_episodes, result.num_skipped) == (kept, 3 - kept)


def test_what_is_no_v3_dataset_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no meta/info.json"):
        import_store(LeRobotImport(), tmp_path, tmp_path / "store")
    shutil.copytree(DATA / "meta", tmp_path / "meta")
    info = tmp_path / "meta" / "info.json"
    info.write_text(info.read_text().replace('"v3.0"', '"v2.1"'))
    with pytest.raises(InputError, match=r"format v2.1, only v3 is read"):
        import_store(LeRobotImport(), tmp_path, tmp_path / "store")


@pytest.mark.parametrize(("name", "values"), [("is_success", [0] * 4 + [1] + [0] * 7), ("success", [0, 1] + [0] * 10)])
def test_success_and_rewards_of_other_usual_names(tmp_path: Path, name: str, values: list[int]) -> None:
    root = described(tmp_path / "demos", {"dtype": "int64", "shape": [1]})
    info = json.loads((root / "meta/info.json").read_text())
    for old, new in (("observation.new", name), ("next.reward", "reward"), ("next.success", "")):
        feature = info["features"].pop(old)
        info["features"] |= {new: feature} if new else {}
    info |= {"total_frames": 99}
    (root / "meta/info.json").write_text(json.dumps(info))
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path, partitioning=None).drop_columns(["next.success"])
    table = table.rename_columns(["reward" if column == "next.reward" else column for column in table.column_names])
    pq.write_table(table.append_column(name, pa.array(values)), path)
    result = import_store(LeRobotImport(), root, tmp_path / "store")
    assert [result.snapshot.episode(i).success for i in range(3)] == [True, False, False]
    assert result.snapshot.episode(0).total_reward == 1
    assert any("contradicts meta/episodes: total_frames 99, not 12" in finding.what for finding in result.findings)


def test_success_of_meta_episodes_and_no_rewards_are_said(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "demos")
    path = tmp_path / "demos/meta/info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"features": {k: v for k, v in info["features"].items() if k not in _MARKS}}))
    path = tmp_path / "demos/meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path, partitioning=None).append_column("success", pa.array([True, False, None])), path)
    result = import_store(LeRobotImport(), tmp_path / "demos", tmp_path / "store")
    assert [result.snapshot.episode(i).success for i in range(3)] == [True, False, None]
    assert any(finding.what == "holds no rewards (next.reward): they are 0" for finding in result.findings)


_MARKS = ("next.success", "next.reward")

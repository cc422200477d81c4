from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distil.errors import InputError, RunError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.lerobot_meta import column, frame_shape, read_episodes, read_info, read_own, why_not

STATE = {"dtype": "float32", "shape": [2]}
INFO = {"codebase_version": "v3.0", "fps": 30, "features": {"observation.state": STATE}}


def written(folder: Path, info: Any) -> Path:
    (folder / "meta").mkdir(exist_ok=True)
    (folder / "meta" / "info.json").write_text(info if isinstance(info, str) else json.dumps(info))
    return folder


def test_the_info_of_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LeRobot dataset there"):
        read_info(tmp_path)
    assert read_info(written(tmp_path, INFO)) == INFO
    for bad, text in (
        ("{", "can't be read"),
        (INFO | {"fps": 0}, "fps is 0"),
        (INFO | {"features": {"x": {"shape": [1]}}}, "feature x has no dtype and shape"),
        (INFO | {"codebase_version": "v2.1"}, "only v3 is read"),
    ):
        with pytest.raises(InputError, match=text):
            read_info(written(tmp_path, bad))


def test_episodes_are_listed_once_without_their_statistics(tmp_path: Path) -> None:
    folder = tmp_path / "meta" / "episodes" / "chunk-000"
    folder.mkdir(parents=True)
    rows = [{"episode_index": number, "length": 3, "stats/action/mean": 0.5} for number in (1, 0)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "file-000.parquet")
    assert read_episodes(tmp_path) == {number: {"episode_index": number, "length": 3} for number in (0, 1)}
    pq.write_table(pa.Table.from_pylist(rows), folder / "file-001.parquet")
    with pytest.raises(RunError, match=r"file-001\.parquet: lists episode 1 twice"):
        read_episodes(tmp_path)


def test_distils_additions_count_only_while_the_dataset_is_as_distil_wrote_it(tmp_path: Path) -> None:
    assert not read_own(tmp_path, {0: {"length": 3}})
    folder = tmp_path / "meta" / "distil"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text("{}")
    row = {"episode_index": 0, "length": 3, "facts": "{}"}
    pq.write_table(pa.Table.from_pylist([row]), folder / "episodes.parquet")
    meta: dict[int, dict[str, Any]] = {0: {"length": 3}}
    assert read_own(tmp_path, meta)
    assert meta == {0: {"length": 3, "distil": row}}
    assert not read_own(tmp_path, {0: {"length": 4}})


def test_features() -> None:
    assert frame_shape(STATE) == (2,)
    assert frame_shape({"dtype": "video", "shape": [3, 4, 5], "names": ["channels", "height", "width"]}) == (4, 5, 3)
    assert [why_not({"dtype": kind}) for kind in ("float32", "video", "string", "<U3")] == ["", "", "text", "text"]
    table = pa.table({"x": pa.array([[1.0, 2.0], [3.0, 4.0]])})
    np.testing.assert_array_equal(column(table, "x", (2,)), [[1, 2], [3, 4]])
    for name, shape, text in (("y", (2,), "has no column 'y'"), ("x", (3,), "x is .* a frame, should be")):
        with pytest.raises(BadEpisodeError, match=text):
            column(table, name, shape)

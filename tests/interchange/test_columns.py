from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distil.errors import InputError, RunError
from distil.interchange import columns
from distil.interchange.columns import batches, flat, parquet_files, runs, to_numpy
from distil.interchange.episodes import BadEpisodeError


@pytest.mark.parametrize("part", [1, 2, 100])
def test_runs_cross_pieces_and_files(tmp_path: Path, monkeypatch: Any, part: int) -> None:
    monkeypatch.setattr(columns, "_BATCH_ROWS", part)
    pq.write_table(pa.table({"key": ["a", "a", "b"], "x": [0, 1, 2]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"key": ["b", "c"], "x": [3, 4]}), tmp_path / "1.parquet")
    found = [(rows.key, rows.file.name, rows.table["x"].to_pylist()) for rows in runs(sorted(tmp_path.iterdir()), "key")]
    assert found == [("a", "0.parquet", [0, 1]), ("b", "0.parquet", [2, 3]), ("c", "1.parquet", [4])]


@pytest.mark.parametrize("keys", [[0.0, float("nan")], pa.array([0, None])])
def test_rows_that_name_no_episode_are_refused(tmp_path: Path, keys: Any) -> None:
    pq.write_table(pa.table({"key": pa.array(keys)}), tmp_path / "0.parquet")
    with pytest.raises(RunError, match=r"0\.parquet: key .* in some rows; each row must name its episode"):
        list(runs([tmp_path / "0.parquet"], "key"))


def test_groups_become_columns_but_rays_tensors_stay() -> None:
    tensor = pa.array([{"data": [1.0, 2.0], "shape": [2]}])
    table = pa.table({"a": pa.array([{"b": {"c": 1}, "d": "x"}]), "t": tensor, "n": [3]})
    assert sorted(flat(table).column_names) == ["a.b.c", "a.d", "n", "t"]
    assert flat(table)["a.b.c"].to_pylist() == [1]


def test_numbered_files_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["part-10.parquet", "part-2.parquet", "b/1.parquet", "a/20.parquet", "a/3.parquet", "_hidden.parquet"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in parquet_files(tmp_path)]
    assert found == ["a/3.parquet", "a/20.parquet", "b/1.parquet", "part-2.parquet", "part-10.parquet"]


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["a"], "x": [0]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"key": ["a"], "x": ["text"]}), tmp_path / "1.parquet")
    with pytest.raises(RunError, match="aren't those of the other files"):
        list(runs(sorted(tmp_path.iterdir()), "key"))


@pytest.mark.parametrize("kind", ["list", "fixed", "tensor", "ray", "nested"])
def test_every_way_to_hold_an_array_in_a_row_is_read(kind: str) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    field = pa.field("x", pa.list_(pa.float32()))
    if kind == "tensor":
        array: Any = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    elif kind == "nested":
        array = pa.array(values.tolist(), pa.list_(pa.list_(pa.float32())))
    else:
        array = pa.array(
            values.reshape(4, 6).tolist(), pa.list_(pa.float32(), 6) if kind == "fixed" else pa.list_(pa.float32())
        )
    if kind == "ray":
        name, metadata = b"ray.data.arrow_tensor_v2", b"[2, 3]"
        field = field.with_metadata({b"ARROW:extension:name": name, b"ARROW:extension:metadata": metadata})
    out = to_numpy(pa.chunked_array([array.slice(0, 1), array.slice(1)]), field)
    np.testing.assert_array_equal(out, values.reshape(4, 6) if kind in ("list", "fixed") else values)


@pytest.mark.parametrize(
    ("array", "what", "step"),
    [
        (pa.array([[1.0], [1.0, 2.0]]), "has 2 and 1 entries", 1),
        (pa.array([1.0, None]), "has no value", 1),
        (pa.array([[1.0, 2.0], [1.0, None]]), "has no value", 1),
        (pa.array(["a"]), "isn't numbers", None),
    ],
)
def test_what_is_no_array_is_said_with_its_step(array: Any, what: str, step: int | None) -> None:
    with pytest.raises(BadEpisodeError, match=what) as error:
        to_numpy(array)
    assert error.value.step == step


def test_runs_of_constants_are_bounded(tmp_path: Path) -> None:
    """A few hundred bytes claim any number of equal values; a million of them are a column like others."""
    small, large = tmp_path / "small.parquet", tmp_path / "large.parquet"
    pq.write_table(pa.table({"x": np.zeros(1 << 20, np.int8)}), small)
    assert sum(batch.num_rows for batch in batches(small)) == 1 << 20
    rows = pa.ListArray.from_arrays(pa.array([0, 1 << 26], pa.int32()), np.zeros(1 << 26, np.int8))
    pq.write_table(pa.table({"x": rows}), large, write_batch_size=1 << 27)
    assert large.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"large.parquet: column x.list.element: claims 268,435,456 bytes"):
        next(batches(large))

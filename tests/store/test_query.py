from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from distil.store import Store, query


def test_steps_are_queryable_without_a_copy(fill: Callable[..., Store]) -> None:
    snapshot = fill([3, 9, 4], [0, 1, 0]).snapshot()
    steps = query.steps(snapshot).to_table()
    assert steps.num_rows == 19
    assert steps["uid"].to_pylist()[:4] == ["test-0002"] * 4  # a shard's own order
    assert steps["obs"][0].as_py() == [2000.0, 0.0]
    assert query.steps(snapshot.select([1])).to_table()["uid"].unique().to_pylist() == ["test-0001"]


def test_duckdb_reads_steps_and_episodes(fill: Callable[..., Store]) -> None:
    duckdb = pytest.importorskip("duckdb")
    snapshot = fill([3, 9, 4], [0, 1, 0]).snapshot()
    steps, episodes = query.steps(snapshot), query.episodes(snapshot)
    assert steps.schema.names[0] == "uid"
    text = "SELECT uid, sum(reward), any_value(e.total_reward) FROM steps JOIN episodes e USING (uid) GROUP BY uid ORDER BY uid"
    assert duckdb.sql(text).fetchall() == [("test-0000", 0.0, 0.0), ("test-0001", 9.0, 9.0), ("test-0002", 8.0, 8.0)]
    assert episodes.num_rows == 3


def test_polars_reads_steps_and_episodes(fill: Callable[..., Store]) -> None:
    polars = pytest.importorskip("polars")
    snapshot = fill([3, 9, 4], [0, 1, 0]).snapshot()
    lazy = polars.scan_pyarrow_dataset(query.steps(snapshot))
    found = lazy.filter(polars.col("labelled") == 1).group_by("uid").agg(polars.col("reward").sum()).collect()
    returns = dict(found.with_columns(polars.col("uid").cast(polars.String)).rows())
    frame = polars.from_arrow(query.episodes(snapshot))
    assert returns == dict(zip(frame["uid"], frame["total_reward"], strict=True))
    np.testing.assert_array_equal(frame["length"], [3, 9, 4])

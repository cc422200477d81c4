from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distil.errors import RunError
from distil.store.interchange.episodes import Finding
from distil.store.interchange.parquet import ParquetImport
from distil.store.interchange.transfer import import_store

polars = pytest.importorskip("polars")


def polars_table(with_next: bool = False, with_last: bool = False) -> Any:
    """Two episodes of 3 and 2 actions as a user would write them."""
    rows = []
    for episode, num in (("a", 3), ("b", 2)):
        for step in range(num + with_last):
            last = step == num
            row: dict[str, Any] = {"episode": episode, "obs_0": float(step), "obs_1": 10.0 * step}
            row["action"] = None if last else step % 2
            row["reward"] = None if last else 1.0
            row["terminated"] = None if last else episode == "a" and step == num - 1
            row["truncated"] = None if last else episode == "b" and step == num - 1
            if with_next:
                row |= {"next_obs_0": step + 1.0, "next_obs_1": 10.0 * (step + 1)}
            rows.append(row)
    return polars.DataFrame(rows)


@pytest.mark.parametrize("how", ["next", "last", "repeat", "drop"])
def test_rows_of_others_become_episodes(tmp_path: Path, how: str) -> None:
    """CORRECTNESS 1 and 2: terminated stays apart from truncated, and the final observation is found where there is one."""
    polars_table(how == "next", how == "last").write_parquet(tmp_path / "rows.parquet")
    options = ParquetImport(final_observation="drop" if how == "drop" else "repeat")
    result = import_store(options, tmp_path / "rows.parquet", tmp_path / "store")
    first, second = (result.snapshot.episode(i) for i in range(2))
    lost = how == "drop"
    assert (first.length, second.length) == (3 - lost, 2 - lost)
    assert first.observations["obs"].shape == (4 - lost, 2)
    assert first.observations["obs"][-1, 0] == {"next": 3, "last": 3, "repeat": 2, "drop": 2}[how]
    assert (first.terminated, first.truncated, second.terminated, second.truncated) == (not lost, lost, False, True)
    assert (result.snapshot.spec.action.leaf.kind, first.actions.tolist()) == ("discrete", [0, 1, 0][: 3 - lost])
    assert first.labelled.all()
    assert [f.what[:24] for f in result.findings] == (["holds no observation aft"] if how in ("repeat", "drop") else [])


def test_columns_are_named_by_options_and_no_reward_is_said(tmp_path: Path) -> None:
    table = {
        "run": [7, 7, 9],
        "pos": [[1.0, 2.0]] * 3,
        "speed": [0.5] * 3,
        "u": [[0.25], [0.5], [0.75]],
        "mood": ["up", "down", "up"],
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    findings: list[Finding] = []
    options = ParquetImport(episode="run", observations=("pos", "speed"), action="u", demonstrations=False, infos=("mood",))
    result = import_store(options, tmp_path, tmp_path / "store", report=findings.append)
    episode = result.snapshot.episode(0)
    assert {name: values.shape for name, values in episode.observations.items()} == {"obs/pos": (3, 2), "obs/speed": (3, 1)}
    assert (episode.terminated, episode.truncated, episode.labelled.any(), episode.total_reward) == (False, True, False, 0.0)
    assert result.snapshot.spec.action.leaf.kind == "box"
    assert episode.infos == ('{"mood": "up"}', '{"mood": "down"}')
    assert any("rewards are 0" in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("obs_0", [0.0, None, 2.0, 0.0, 1.0], "episode a, step 1: obs_0 has no value"),
        ("obs_0", [0.0, 1.0, float("nan"), 0.0, 1.0], "episode a, step 2: obs is NaN"),
        ("reward", [1.0, 1.0, 1.0, float("inf"), 1.0], "episode b, step 0: reward is NaN or infinite"),
        ("terminated", [True, False, True, False, False], "episode a, step 0: terminated before its last row"),
        ("episode", ["a", "a", "b", "b", "a"], "episode a: its rows don't stand together"),
    ],
)
def test_bad_rows_are_named_and_skipped_only_when_asked(tmp_path: Path, column: str, values: list[Any], what: str) -> None:
    frame = polars_table().with_columns(polars.Series(column, values))
    frame = frame.with_columns(polars.lit(False).alias("terminated")) if column == "episode" else frame
    frame = frame.with_columns(polars.lit(False).alias("truncated")) if column == "episode" else frame
    frame.write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(RunError, match=what) as error:
        import_store(ParquetImport(), tmp_path / "rows.parquet", tmp_path / "one")
    assert "rows.parquet" in str(error.value)
    result = import_store(ParquetImport(), tmp_path / "rows.parquet", tmp_path / "two", skip_bad=True)
    assert result.num_skipped == 1
    assert result.snapshot.num_episodes == (2 if column == "episode" else 1)

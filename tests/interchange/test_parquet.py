from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange import parquet
from distil.interchange.parquet import ParquetExport, ParquetImport
from distil.interchange.transfer import export_store, import_store
from distil.store import Snapshot

MakeStore = Callable[..., Snapshot]


@pytest.mark.parametrize(
    "changes",
    [{}, {"mixed": True}, {"action": spaces.Discrete(3, start=1)}, {"action": spaces.MultiBinary(3)}, {"nested": True}],
)
@pytest.mark.parametrize("part_bytes", [1, 1 << 20])
def test_a_store_comes_back_whole(
    make_store: MakeStore, all_episodes: Any, same: Any, tmp_path: Path, monkeypatch: Any, changes: Any, part_bytes: int
) -> None:
    monkeypatch.setattr(parquet, "_PART_BYTES", part_bytes)
    if changes.get("nested"):
        image, box = spaces.Box(0, 255, (16, 9, 3), np.uint8), spaces.Box(-1, 1, (2, 2), np.float32)
        changes = {"observation": spaces.Dict(image=image, state=spaces.Tuple([box, spaces.Discrete(5)]))}
    before = make_store(**changes)
    assert export_store(ParquetExport(), before, tmp_path / "out") == []
    assert len(list((tmp_path / "out" / "steps").iterdir())) == (3 if part_bytes == 1 else 1)
    result = import_store(ParquetImport(), tmp_path / "out", tmp_path / "again")
    same(all_episodes(before), all_episodes(result.snapshot))
    assert result.snapshot.spec == before.spec
    assert result.snapshot.digest == before.digest
    assert (import_store(ParquetImport(), tmp_path / "out", tmp_path / "again").num_added, result.findings) == (0, ())


def test_others_read_what_is_written(make_store: MakeStore, tmp_path: Path) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    export_store(ParquetExport(), make_store(), tmp_path / "out")
    files = f"{tmp_path}/out/steps/*.parquet"
    [(total, rows)] = duckdb.sql(f"SELECT sum(reward), count(*) FROM '{files}' WHERE action IS NOT NULL").fetchall()
    frame = polars.read_parquet(files)
    assert (rows, len(frame)) == (12, 15)
    assert frame["reward"].sum() == pytest.approx(total)
    assert frame.schema["obs"] == polars.Array(polars.Float64, 3)


def test_a_wrong_name_and_a_torn_file_are_said(tmp_path: Path, make_store: MakeStore) -> None:
    pq.write_table(pa.table({"episode": [0], "obs": [1.0], "action": [0.5]}), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"no key 'acton'; did you mean action\?"):
        ParquetImport(action="acton").read(tmp_path, lambda _: None)
    (tmp_path / "rows.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-20])
    with pytest.raises(RunError, match=r"rows.parquet: not a readable Parquet file"):
        ParquetImport().read(tmp_path, lambda _: None)
    with pytest.raises(InputError, match="no Parquet files"):
        ParquetImport().read(tmp_path / "nowhere", lambda _: None)
    with pytest.raises(InputError, match="holds both kinds of actions"):
        export_store(ParquetExport(actions="expert"), make_store(), tmp_path / "out")
    assert not (tmp_path / "out").exists()

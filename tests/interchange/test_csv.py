from __future__ import annotations

from pathlib import Path

import pytest

from distil.errors import InputError, RunError
from distil.interchange.csv import CsvImport
from distil.interchange.transfer import import_store

ROWS = "episode,obs_0,obs_1,action,reward,terminated\na,0,0.5,1,1,false\na,1,1.5,0,2,true\nb,2,2.5,2,3,false\n"


def test_a_column_names_the_episode(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    snapshot = import_store(CsvImport(), tmp_path / "a.csv", tmp_path / "store").snapshot
    assert snapshot.spec.action.describe() == "Discrete(3)"
    first, second = snapshot.episode(0), snapshot.episode(1)
    assert first.observations["obs"].tolist() == [[0, 0.5], [1, 1.5], [1, 1.5]]
    assert (first.rewards.tolist(), first.terminated, second.terminated, first.source) == ([1, 2], True, False, "csv")


def test_a_file_an_episode(tmp_path: Path) -> None:
    """Whole numbers in one file and fractions in another are one column."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"e{number}.tsv").write_text(f"obs\taction\n{number}\t{number / 2:g}\n{number + number / 2:g}\t0\n")
    result = import_store(CsvImport(final_observation="drop"), folder, tmp_path / "store")
    assert "each file is one episode" in str(result.findings[0])
    assert result.snapshot.spec.observation.leaf.dtype == "float64"
    assert [result.snapshot.episode(i).observations["obs"].ravel().tolist() for i in range(3)] == [[0, 0], [1, 1.5], [2, 3]]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS.replace("1.5", ""))
    with pytest.raises(RunError, match=r"a.csv: episode a, step 1: .*has no value"):
        import_store(CsvImport(), tmp_path / "a.csv", tmp_path / "store")
    (tmp_path / "b.csv").write_text("obs,action\n1,2,3\n")
    with pytest.raises(InputError, match=r"b.csv: can't be read as CSV"):
        import_store(CsvImport(), tmp_path / "b.csv", tmp_path / "store")
    (tmp_path / "c.csv").write_text("obs,word\n1,x\n")
    with pytest.raises(InputError, match="no key 'action'"):
        import_store(CsvImport(), tmp_path / "c.csv", tmp_path / "store")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no CSV files there"):
        import_store(CsvImport(), tmp_path / "in", tmp_path / "store")
    (tmp_path / "in" / "a.csv").write_text("obs,action\n1,0\n")
    (tmp_path / "in" / "b.csv").write_text("obs,act\n1,0\n")
    with pytest.raises(InputError, match="different columns"):
        import_store(CsvImport(), tmp_path / "in", tmp_path / "store")


def test_spaces_around_the_names_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("episode, obs, action\n0,1.5,0\n0,2.5,1\n")
    snapshot = import_store(CsvImport(), tmp_path / "run.csv", tmp_path / "store").snapshot
    assert snapshot.episode(0).observations["obs"][:2, 0].tolist() == [1.5, 2.5]

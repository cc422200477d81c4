"""Names on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparebed import config, metrics, write_run

from distil.compare.sources import read_all
from distil.errors import InputError


def test_a_run_that_two_names_stand_for_counts_once(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"a-00{seed}", config(seed=seed), [metrics(1.0)], run_id=f"id{seed}") for seed in (1, 2)]
    found = read_all([str(runs[0]), ".", str(tmp_path)], "")  # the tests' working folder is tmp_path
    assert [record.path for record in found] == [runs[0], Path("a-002")]


def test_runs_of_other_environments_are_refused_in_one_line(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a-001", config(), [metrics(1.0)])
    second = write_run(tmp_path / "b-001", config(env__id="Pendulum-v1"), [metrics(1.0)])
    with pytest.raises(
        InputError, match=r"a-001 is a run on CartPole-v1, and b-001 on Pendulum-v1: .*one environment"
    ) as caught:
        read_all([str(first), str(second)], "")
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_all([str(tmp_path / "none")], "sqlite:///none.db")
    with pytest.raises(InputError, match=r"none: no such folder, and no MLflow database none\.db"):
        read_all(["none"], "sqlite:///none.db")

"""`distil compare` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from comparebed import config, metrics, write_run

from distil.cli.main import cli
from distil.errors import InputError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for kind, base in (("bc", 300.0), ("dagger", 400.0)):
        for seed in range(5):
            settings = config(f"{kind}-seed-{seed}", seed, algorithm__kind=kind)
            write_run(tmp_path / "runs" / f"{kind}-{seed}", settings, [metrics(base + seed)])
    return tmp_path / "runs"


def call(*arguments: object) -> str:
    done = CliRunner().invoke(cli, ["compare", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_table_a_verdict_and_a_page(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    text = call(runs, "--out", out)
    assert "dagger is better than bc: return 402.0" in text
    assert text.splitlines()[-1] == f"page: {out}"
    assert "dagger is better than bc" in out.read_text()


def test_json(runs: Path, tmp_path: Path) -> None:
    data = json.loads(call(runs / "bc-0", runs / "dagger-1", "--json", "--out", tmp_path / "x.html"))
    assert [method["name"] for method in data["methods"]] == ["dagger", "bc"]
    assert data["page"] == str(tmp_path / "x.html")


def test_unknown_names_are_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match=r"nothing: no such folder, and no MLflow database mlflow\.db"):
        call("nothing")
    assert list(tmp_path.iterdir()) == []

"""`distil reward RUN` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rewardpagebed import run_of

from distil.cli.main import cli
from distil.errors import InputError


def call(*words: object) -> str:
    done = CliRunner().invoke(cli, ["reward", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_page_beside_the_run_and_a_table() -> None:
    run = run_of("grid")
    text = call(run)
    assert text.splitlines()[-1] == f"page: {run / 'reward.html'}"
    assert "true, shaped at random" in text
    assert "the reward of grid" in (run / "reward.html").read_text()


def test_options_may_come_first(tmp_path: Path) -> None:
    out = tmp_path / "new" / "x.html"
    data = json.loads(call("--json", "--out", out, run_of("pendulum"), "--slice", "obs[1],obs[0]"))
    assert (data["page"], data["slice"]) == (str(out), ["obs[1]", "obs[0]"])
    assert out.is_file()


def test_help_names_both_ways() -> None:
    text = call("--help")
    assert "distil reward RUN" in text.replace("cli reward", "distil reward")
    assert "transfer" in text


def test_no_run_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run there"):
        call(tmp_path / "nothing")

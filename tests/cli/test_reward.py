"""`distil reward` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from distil import api
from distil.cli.main import cli
from distil.errors import InputError


def call(*words: object) -> str:
    done = CliRunner().invoke(cli, ["reward", "transfer", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_runs_and_changes_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"rollouts.num_workers": 0, "tracking.enabled": False, "data.episodes": 2, "evaluation.episodes": 2}
    api.train("gridworld-mce-irl", settings, run="a")
    data = json.loads(call("env.kwargs.gap=right", "runs/a", "--clone-steps", 5, "--json"))
    assert (data["environment"], data["episodes"]) == ('distil.envs.gridworld:GridWorld {"gap": "right"}', 2)
    assert data["reward"] | {"about": ""} == {"kind": "tabular", "sees": "state", "nature": "reward", "about": ""}
    assert data["plot"] == "transfer/a/transfer.png"
    assert "RL on the learned reward" in call("runs/a", "env.kwargs.gap=right", "--clone-steps", 5)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    for words, fault in (
        (["runs/a"], "nothing is different"),
        (["env.kwargs.gap=right"], "no run is given"),
        ([tmp_path, "env.kwargs.gap=right"], "no run there"),
    ):
        with pytest.raises(InputError, match=fault):
            call(*words)

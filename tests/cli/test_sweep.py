import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from distil.cli.main import cli
from distil.errors import InputError


def run(*words: str) -> str:
    done = CliRunner().invoke(cli, ["sweep", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_plan_starts_nothing(tmp_path: Path) -> None:
    where = f"runs={tmp_path / 'runs'}"
    text = run("pendulum", "--plan", where)
    assert "24 trials, 15 confirmations" in text
    assert "algorithm.stop.expert_labels=2000" in text
    planned = json.loads(run("pendulum", "--plan", "--json", where, "searcher.trials=3"))
    assert [family["num_trials"] for family in planned["families"]] == [3, 3, 3]
    assert not (tmp_path / "runs").exists()


def test_what_is_wrong_is_said_before_anything_starts(tmp_path: Path) -> None:
    for words, message in (
        (["pendulums"], "did you mean pendulum"),
        (["pendulum", "families.bc.search={learner.rate: {choice: [1]}}"], "unknown key learner"),
        (["pendulum", "searcher.kind=grid"], "a grid needs values"),
        (["pendulum", "metric=tune/reward"], "no run is scored by that"),
        (["pendulum", "searcher.trails=3"], "did you mean searcher.trials|did you mean trials"),
    ):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(cli, ["sweep", *words, f"runs={tmp_path / 'runs'}"], catch_exceptions=False)
        assert not (tmp_path / "runs" / "pendulum").exists()

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from distil.cli.main import cli
from distil.config import recipe_names


def test_recipes_are_listed_shown_and_described() -> None:
    runner = CliRunner()
    listed = runner.invoke(cli, ["recipes", "list"]).output
    assert "lunarlander-bc" in listed
    assert "cartpole-bc" in listed
    assert "metaworld-pick-place-dagger  DAgger" in listed  # the longest name keeps its distance
    shown = runner.invoke(cli, ["recipes", "show", "cartpole-bc", "learner.num_steps=77"]).output
    assert "num_steps: 77" in shown
    assert "RunConfig" in json.loads(runner.invoke(cli, ["recipes", "schema"]).output)["title"]


def test_a_shown_recipe_marks_missing_required_keys(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["recipes", "show", "halfcheetah-bc"], catch_exceptions=False).output
    assert "  path: null  # required: set expert.path=...\n" in shown
    assert yaml.safe_load(shown)["learner"]["num_steps"] == 8000
    given = CliRunner().invoke(cli, ["recipes", "show", "halfcheetah-bc", "expert.path=x.zip"], catch_exceptions=False).output
    assert "path: x.zip" in given
    assert "required" not in given
    (tmp_path / "mine.yaml").write_text(
        "env: {id: X}\nexpert: {kind: several, members: {a: {kind: sb3}, b: {kind: import}}}\n"
        "algorithm: {kind: dagger, beta: {kind: constant}}\n"
    )
    shown = CliRunner().invoke(cli, ["recipes", "show", str(tmp_path / "mine.yaml")], catch_exceptions=False).output
    marks = [line.partition("set ")[2] for line in shown.splitlines() if "# required" in line]
    assert marks == ["expert.members.a.path=...", "expert.members.b.target=...", "algorithm.beta.value=..."]


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_shown(name: str) -> None:
    shown = CliRunner().invoke(cli, ["recipes", "show", name], catch_exceptions=False).output
    assert yaml.safe_load(shown)["name"] == name


def test_an_invalid_recipe_is_not_shown() -> None:
    result = CliRunner().invoke(cli, ["recipes", "show", "halfcheetah-bc", "learner.num_step=3"])
    assert "did you mean num_steps" in str(result.exception)


def test_experts_are_listed() -> None:
    listed = CliRunner().invoke(cli, ["experts", "list"]).output
    assert "kind=sb3" in listed
    assert "name=lunarlander" in listed

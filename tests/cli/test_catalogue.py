import json

from click.testing import CliRunner

from distil.cli.main import cli


def test_recipes_are_listed_shown_and_described() -> None:
    runner = CliRunner()
    listed = runner.invoke(cli, ["recipes", "list"]).output
    assert "lunarlander-bc" in listed
    assert "cartpole-bc" in listed
    assert "metaworld-pick-place-dagger  DAgger" in listed  # the longest name keeps its distance
    shown = runner.invoke(cli, ["recipes", "show", "cartpole-bc", "learner.num_steps=77"]).output
    assert "num_steps: 77" in shown
    assert "RunConfig" in json.loads(runner.invoke(cli, ["recipes", "schema"]).output)["title"]


def test_experts_are_listed() -> None:
    listed = CliRunner().invoke(cli, ["experts", "list"]).output
    assert "kind=sb3" in listed
    assert "name=lunarlander" in listed

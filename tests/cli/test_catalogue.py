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


def small(folder: Path, *more: str) -> list[str]:
    """A short run of cartpole-ppo."""
    keys = {
        "env.max_episode_steps": 30,
        "rollouts.num_workers": 0,
        "algorithm.steps": 200,
        "algorithm.steps_per_round": 100,
        "tracking.enabled": False,
        "evaluation.episodes": 3,
        "runs": folder / "runs",
    }
    return ["cartpole-ppo", *(f"{key}={value}" for key, value in keys.items()), *more]


def test_an_expert_is_trained_without_demonstrations_and_serves_at_once(tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(cli, ["experts", "train", *small(tmp_path)], catch_exceptions=False).output
    lines = done.splitlines()
    assert lines[-1].startswith("as an expert: expert.kind=policy expert.path=")
    assert "3 held-out episodes" in done
    assert "normalised" not in done  # there is no reference
    keys = lines[-1].removeprefix("as an expert: ").split()
    scored = runner.invoke(cli, ["experts", "evaluate", *small(tmp_path, *keys), "--json"], catch_exceptions=False).output
    assert json.loads(scored)["expert"]["eval/return_mean"] == pytest.approx(_mean(lines), rel=1e-3)


def _mean(lines: list[str]) -> float:
    return float(next(line for line in lines if line.startswith("policy ") and "return" not in line).split()[1])


def test_a_reference_gives_a_normalised_score_and_no_demonstrations(tmp_path: Path) -> None:
    words = ["experts", "train", *small(tmp_path, "expert.kind=scripted"), "--json"]
    found = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).output)
    assert "eval/normalised" in found
    assert found["budget/demonstrations"] == found["budget/expert_labels"] == 0
    assert found["budget/agent_steps"] >= 200


def test_an_expert_is_not_trained_from_demonstrations() -> None:
    result = CliRunner().invoke(cli, ["experts", "train", "cartpole-bc"])
    assert "algorithm.kind=bc learns from demonstrations: use distil train" in str(result.exception)

"""What a record says of a run, and configurations as flat keys."""

from __future__ import annotations

from comparebed import config, metrics

from distil.compare.record import RunRecord, flat, nested, points_of
from distil.tracking import flatten


def test_points_are_the_scores_of_a_report_with_what_was_spent() -> None:
    (tuned, final) = points_of(metrics(300.0, "tune") | metrics(310.0, cpu_s=7.0) | {"train/loss": 1.0})
    assert (tuned.held_out, final.held_out) == (False, True)
    assert (tuned.score, final.score, final.expert) == (300.0, 310.0, 500.0)
    assert final.budget["cpu_s"] == 7.0
    assert points_of({"train/loss": 1.0}) == []
    assert points_of(metrics(float("nan"))) == points_of(metrics(float("-inf"))) == []


def test_a_record_names_environment_algorithm_and_command(tmp_path) -> None:
    found = RunRecord(name="a", path=tmp_path, config=config(seed=3, algorithm__kind="dagger", env__max_episode_steps=100))
    assert (found.seed, found.algorithm, found.environment) == (3, "DAgger", "CartPole-v1 cut at 100 steps")
    assert found.command == f"distil train {tmp_path}/config.yaml"
    assert RunRecord(name="a").environment == ""


def test_final_and_tuned_are_the_last_scores_of_their_episodes() -> None:
    points = [point for value in (1.0, 2.0) for prefix in ("tune", "eval") for point in points_of(metrics(value, prefix))]
    found = RunRecord(name="a", points=points)
    assert found.final.score == found.tuned.score == 2.0
    assert RunRecord(name="a").final is None


def test_mlflows_parameters_give_the_configuration_back() -> None:
    original = config(policy={"hidden": [64, 64], "head": None})
    assert flat(nested(flatten(original))) == flat(original)
    assert nested({"a": "1", "a.b": "x"}) == {"a": {"b": "x"}}
    assert "policy.head" not in flat(original)

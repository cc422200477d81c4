"""What the shipped recipes of imitation by interaction reach."""

from pathlib import Path

import pytest

import distil


@pytest.mark.slow
def test_five_demonstrations_are_enough_to_balance(tmp_path: Path) -> None:
    """Within about 10,000 steps of the learner; it never reads the reward (CORRECTNESS 20)."""
    places = {"data.path": str(tmp_path / "data"), "runs": str(tmp_path / "runs"), "rollouts.num_workers": 0}
    run = distil.train(
        "cartpole-sqil",
        places | {"seed": 10, "tracking.enabled": False, "algorithm.steps": 10_000, "algorithm.tuning_episodes": 0},
    )
    assert run.metrics["eval/normalised"] > 0.9
    assert run.metrics["budget/demonstrations"] == 5
    assert run.metrics["budget/agent_steps"] < 20_000

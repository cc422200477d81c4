from pathlib import Path
from typing import Any

import pytest

import distil
from distil.algorithms.base import Budget
from distil.algorithms.mce_irl import MceIrlConfig
from distil.errors import InputError
from distil.plans import CollectPlan, EvaluatePlan, Spent, WatchPlan


def small(folder: Path) -> dict[str, Any]:
    return {"runs": str(folder), "data.path": str(folder / "demos"), "rollouts.num_workers": 0, "tracking.enabled": False}


def test_the_reward_of_a_grid_world_is_learned_from_ten_demonstrations(tmp_path: Path) -> None:
    run = distil.train("gridworld-mce-irl", small(tmp_path) | {"algorithm.tuning_episodes": 5, "evaluation.episodes": 10})
    assert run.metrics["eval/normalised"] > 0.95
    assert run.metrics["tune/normalised"] > 0.9
    assert run.metrics["train/gradient"] <= 1e-8
    assert 0 < run.metrics["train/occupancy_gap"] < 0.05


def test_there_is_one_round() -> None:
    config = MceIrlConfig(tuning_episodes=3)
    algorithm = config.build(Budget(num_demonstrations=10, num_steps=5000, num_evaluation_episodes=7))
    first = algorithm.next_round(None)
    assert first is not None
    assert first.update is not None
    assert (first.collect, first.evaluate) == (CollectPlan(num_episodes=10), EvaluatePlan(num_episodes=7))
    assert (first.update.num_steps, first.update.watch) == (1, WatchPlan(every=1, num_episodes=3))
    assert [config.fraction(Spent(gradient_steps=num), algorithm.budget) for num in (0, 1)] == [0, 1]
    assert config.granted(120, None, [50, 50, 50]) == {"data.episodes": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": {"id": "CartPole-v1"}}, "environment CartPole-v1: its spaces are Box"),
        ({"policy.encoder": {"kind": "mlp", "hidden": [64]}}, "the policy is a table"),
        ({"learner.num_steps": 10}, "learner.num_steps=10 has no effect with algorithm.kind=mce_irl"),
        ({"policy.chunk": 2}, "policy.chunk=2 has no effect"),
        ({"env": None, "expert": None}, "set env.id, or algorithm.kind=bc"),
    ],
)
def test_what_is_no_table_is_refused_before_anything_starts(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        distil.train("gridworld-mce-irl", small(tmp_path) | changes)
    assert list(tmp_path.iterdir()) == []

"""CORRECTNESS 17: the sign of a reward must not decide whether the learner stays alive; demonstrations must."""

from pathlib import Path
from typing import Any

import pytest
import torch

import distil
from distil.objectives.steps import RLStep

SOFT_Q = {"kind": "soft_q"}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sqil": {"kind": "sqil", "step": SOFT_Q},
    "positive": {"kind": "dac", "step": SOFT_Q, "reward": {"shape": "gail"}},
    "done": {"kind": "dac", "step": SOFT_Q, "reward": {"shape": "airl", "ends": "done"}},
    "iq": {"kind": "iq", "step": SOFT_Q | {"loss": "iq"}},
    "ls_iq": {"kind": "iq", "step": SOFT_Q | {"loss": "ls_iq"}},
}


def _length(tmp_path: Path, algorithm: dict[str, Any]) -> float:
    """Return the mean length of episodes after learning from five demonstrations of `Right`."""
    (tmp_path / "recipe.yaml").write_text("{}")
    overrides = {
        "seed": 10,
        "env.id": "CartPole-v1",
        "expert": {"kind": "import", "target": "interactionbed:Right"},
        "data": {"path": str(tmp_path / "data"), "episodes": 5},
        "runs": str(tmp_path / "runs"),
        "tracking.enabled": False,
        "rollouts": {"num_workers": 0, "num_envs": 4},
        "policy.encoder": {"kind": "mlp", "hidden": [32, 32]},
        "algorithm": {"steps": 3000, "updates_per_step": 0.5, "tuning_episodes": 0, **algorithm},
        "learner": {"batch_size": 64, "learning_rate": 1e-3},
        "evaluation": {"episodes": 20, "baselines": False},
    }
    return distil.train(tmp_path / "recipe.yaml", overrides).metrics["eval/episode_length"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_who_is_shown_to_fall_does_not_learn_to_balance(tmp_path: Path, name: str) -> None:
    assert _length(tmp_path, ALGORITHMS[name]) < 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sqil", "positive"])
def test_without_the_absorbing_state_s_value_it_would(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above notices the defect."""
    monkeypatch.setattr(RLStep, "after_end", lambda self, rewards: torch.zeros_like(rewards.absorbing_B))
    assert _length(tmp_path, ALGORITHMS[name]) > 25

"""What benchmarks/rl_step.py gives Stable-Baselines3, and its table."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import rl_step

from distil.runconfig import load_config


def test_stable_baselines3_gets_the_recipes_settings() -> None:
    spec = rl_step.sb3_spec(load_config("cartpole-ppo", {"algorithm.step.epochs": 7}), 1000, 3, "x.zip")
    assert (spec["algorithm"], spec["env"], spec["steps"], spec["seed"]) == ("ppo", "CartPole-v1", 1000, 3)
    assert spec["policy_kwargs"] == {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": "Tanh"}
    wanted = {"n_epochs": 7, "n_steps": 2048, "batch_size": 64, "learning_rate": 3e-4, "gamma": 0.99, "ent_coef": 0.0}
    assert wanted.items() <= spec["settings"].items()
    spec = rl_step.sb3_spec(load_config("hopper-sac"), 1000, 3, "x.zip")
    assert spec["policy_kwargs"] == {"net_arch": {"pi": [256, 256], "qf": [256, 256]}, "activation_fn": "ReLU"}
    assert {"tau": 0.005, "learning_starts": 10000, "gradient_steps": 1}.items() <= spec["settings"].items()


def test_the_table_pairs_seeds() -> None:
    def result(rate: float, score: float) -> dict[str, float]:
        return {"steps_per_cpu_s": rate, "return": score, "env_steps": 2000}

    found = {
        "pendulum-sac": {
            "distil": {"0": result(30.0, -150.0), "1": result(60.0, -170.0), "2": result(1.0, 0.0)},
            "sb3": {"0": result(20.0, -155.0), "1": result(30.0, -165.0)},
        }
    }
    row = rl_step.table(found).splitlines()[-1]
    assert row.startswith("| pendulum-sac | 2,000 | 45 | 25 | 1.75 | -160 (")
    assert row.endswith("| 2 |")


def test_both_take_as_many_gradient_steps() -> None:
    task, num = rl_step.comparable(rl_step.TASKS["hopper-sac"], 4000)
    assert num == 4000
    assert task.overrides == {"algorithm.random_steps": 400, "algorithm.updates_per_step": 0.9}
    task, num = rl_step.comparable(rl_step.TASKS["hopper-sac"], None)
    assert (num, task.overrides["algorithm.updates_per_step"]) == (500_000, 0.98)
    assert rl_step.comparable(rl_step.TASKS["cartpole-ppo"], 100) == (rl_step.TASKS["cartpole-ppo"], 100)

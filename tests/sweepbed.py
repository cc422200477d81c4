"""A small sweep, for tests."""

from typing import Any

from distil.config import validate
from distil.sweep.config import SweepConfig


def sweep(**keys: Any) -> SweepConfig:
    """Return a sweep of cloning and DAgger on CartPole with short runs; `keys` replace its own."""
    base: dict[str, Any] = {
        "recipe": "cartpole-bc",
        "set": {
            "env.max_episode_steps": 40,
            "data.episodes": 3,
            "policy.encoder.hidden": [8],
            "learner.num_steps": 20,
            "tracking.enabled": False,
        },
        "families": {
            "bc": {},
            "dagger": {
                "set": {
                    "algorithm.kind": "dagger",
                    "algorithm.rounds": 2,
                    "algorithm.episodes_per_round": 1,
                    "algorithm.check_episodes": 0,
                }
            },
        },
        "searcher": {"kind": "random", "trials": 2},
        "confirm": {"best": 1, "seeds": 2, "episodes": 3},
        "tuning_episodes": 2,
        "looks": 2,
        "concurrent": 2,
    }
    return validate(SweepConfig, base | keys)

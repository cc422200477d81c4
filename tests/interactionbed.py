"""Transitions, policies and runs of learning by interaction, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from distil.algorithms.base import Budget
from distil.algorithms.interaction import ByInteractionConfig
from distil.config import validate
from distil.plans import Round, RoundReport, Spent
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.runconfig import RunConfig
from distil.spaces import action_spec, observation_spec
from distil.store.windows import TransitionBatch

OBSERVATION = spaces.Box(-np.inf, np.inf, (3,), np.float32)
ALGORITHMS = ("sqil", "iq", "dac", "ml_irl", "gail", "rl")
DISCRETE, BOX = {"id": "CartPole-v1", "max_episode_steps": 40}, {"id": "Pendulum-v1", "max_episode_steps": 20}
SMALL = {"hidden": [8]}
STEPS = {  # algorithm -> environment, and what makes it small
    "sqil": (DISCRETE, {}),
    "iq": (DISCRETE, {"step": {"kind": "soft_q", "loss": "ls_iq"}}),
    "dac": (BOX, {"step": {"kind": "sac", **SMALL}, "reward": {"kind": "discriminator", **SMALL}}),
    "ml_irl": (BOX, {"step": {"kind": "sac", "num_critics": 3, **SMALL}, "reward": {"kind": "maxent", **SMALL}}),
    "gail": (DISCRETE, {"step": {"kind": "ppo", "epochs": 2, **SMALL}, "reward": {"kind": "discriminator", **SMALL}}),
    "rl": (DISCRETE, {"step": {"kind": "ppo", "epochs": 2, **SMALL}}),
}


def config(folder: Path, kind: str, /, **keys: Any) -> RunConfig:
    """A run of a few rounds of `kind`, in a second."""
    env, own = STEPS[kind]
    base = {
        "name": kind,
        "env": env,
        "expert": {"kind": "scripted"},
        "data": {"path": str(folder / f"demos-{env['id']}"), "episodes": 2},
        "rollouts": {"num_workers": 0, "num_envs": 4},
        "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
        "algorithm": {
            "kind": kind,
            "steps": 180,
            "steps_per_round": 60,
            "random_steps": 60,
            "updates_per_step": 0.5,
            "tuning_episodes": 0,
            **own,
        },
        "learner": {"batch_size": 16, "checkpoint_every": 7},
        "evaluation": {"episodes": 2, "baselines": False},
        "tracking": {"enabled": False},
        "runs": str(folder / "runs"),
    }
    for name, value in keys.items():
        group = base.get(name)
        base[name] = {**group, **value} if isinstance(group, dict) and isinstance(value, dict) else value
    return validate(RunConfig, base)


def policy_for(action: spaces.Space[Any], seed: int = 0) -> Policy:
    """A small policy with a density, on three observations, which is fitted."""
    settings = {"encoder": {"kind": "mlp", "hidden": [8]}, "head": {"kind": "auto", "density": True}}
    policy = Policy(validate(PolicyConfig, settings), observation_spec(OBSERVATION), action_spec(action), seed=seed)
    policy.fit_normaliser({"obs": np.random.default_rng(0).normal(size=(50, 3)).astype("f4")})
    return policy


def transitions_batch(
    executed: Any, *, labels: Any = None, rewards: Any = None, terminated: Any = None, truncated: Any = None, seed: int = 0
) -> TransitionBatch:
    """A batch of single steps with random observations; flags are false unless given."""
    num, generator = len(executed), torch.Generator().manual_seed(seed)
    is_choice = isinstance(executed[0][0], int) and len(executed[0]) == 1
    actions = torch.tensor(executed, dtype=torch.int64 if is_choice else torch.float32)
    actions = actions if is_choice else actions[:, None]
    false = torch.zeros(num, dtype=torch.bool)
    seen, ahead = (torch.randn(num, 1, 3, generator=generator) for _ in range(2))
    return TransitionBatch(
        observations={"obs": seen},
        actions=torch.zeros_like(actions) if labels is None else torch.tensor(labels)[:, None],
        is_pad=torch.zeros(num, 1, dtype=torch.bool),
        executed=actions,
        rewards=None if rewards is None else torch.tensor(rewards)[:, None],
        num_steps=torch.ones(num, dtype=torch.int64),
        next_observations={"obs": ahead},
        terminated=false if terminated is None else torch.tensor(terminated),
        truncated=false if truncated is None else torch.tensor(truncated),
    )


def learning_round(config: ByInteractionConfig) -> Round:
    """The second round with learning, after 1,000 steps of the learner in ten episodes."""
    algorithm = config.build(Budget(num_demonstrations=5, num_steps=100, num_evaluation_episodes=3, batch_size=128))
    spent = Spent(agent_steps=1000, agent_episodes=10, gradient_steps=1000)
    found = algorithm.next_round(RoundReport(index=1, snapshot=None, policy_version=1, spent=spent))
    assert found is not None
    return found

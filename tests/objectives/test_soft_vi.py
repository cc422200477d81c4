from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from distil.config import validate
from distil.envs import GymEnvConfig, ImportEnvConfig, describe
from distil.envs.dynamics import dynamics_of, rewards_of
from distil.envs.planning import soft_plan
from distil.errors import InputError
from distil.objectives.config import InteractionConfig
from distil.objectives.judge import Judge
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import ALONE
from distil.objectives.rl_config import SoftViConfig
from distil.objectives.soft_vi import SoftVi
from distil.policies.policy import Policy, PolicyConfig
from distil.rewards.config import TabularConfig

GRID = ImportEnvConfig(target="distil.envs.gridworld:GridWorld", kwargs={"size": 4, "gap": "left"})
LAKE = GymEnvConfig(id="FrozenLake-v1")


def policy_for(env: GymEnvConfig | ImportEnvConfig, **settings: Any) -> Policy:
    spec = describe(env)
    config = validate(PolicyConfig, settings or {"encoder": {"kind": "mlp", "hidden": []}})
    return Policy(config, spec.observation, spec.action)


def on_its_own_reward(env: GymEnvConfig | ImportEnvConfig, policy: Policy, **settings: Any) -> SoftVi:
    parts = {"step": {"kind": "soft_vi", **settings}, "reward": {"kind": "environment"}}
    config = validate(InteractionConfig, parts).model_copy(update={"env": env})
    objective = config.build(policy, OptimiserConfig(), ALONE)
    assert isinstance(objective, SoftVi)
    return objective


def probabilities(policy: Policy) -> np.ndarray:
    states = torch.arange(policy.observation.leaf.nvec[0])[:, None]
    with torch.no_grad():
        logits = policy.head.logits(policy.encoder({"obs": states}))  # type: ignore[operator]
    return logits[:, 0, 0].softmax(-1).double().numpy()


@pytest.mark.parametrize("env", [GRID, LAKE], ids=lambda env: env.name)
def test_the_policy_is_soft_optimal_for_the_environments_reward(env: GymEnvConfig | ImportEnvConfig) -> None:
    objective = on_its_own_reward(env, policy_for(env), discount=0.9, temperature=0.2)
    objective.step({})
    expected = soft_plan(dynamics_of(env), rewards_of(env), discount=0.9, temperature=0.2).probabilities
    np.testing.assert_allclose(probabilities(objective.evaluation_policy()), expected, atol=1e-5)


@pytest.mark.parametrize("sees", ["state", "state_action"])
@pytest.mark.parametrize("env", [GRID, LAKE], ids=lambda env: env.name)
def test_a_model_is_asked_about_every_transition(env: GymEnvConfig | ImportEnvConfig, sees: str) -> None:
    """With what follows the task's end: holes and goal of the lake are worth their own rewards for ever."""
    policy, dynamics = policy_for(env), dynamics_of(env)
    model = validate(TabularConfig, {"sees": sees}).build(dynamics.num_states, dynamics.num_actions, torch.Generator())
    model.table.copy_(torch.from_numpy(np.random.default_rng(0).normal(size=model.table.shape)))
    objective = SoftVi(SoftViConfig(), env, policy, Judge(policy, model, OptimiserConfig(), ALONE, rate=0.0))
    expected_SA = np.broadcast_to(model.table.numpy(), (dynamics.num_states, dynamics.num_actions)).copy()
    ended_S = dynamics.is_terminal_S
    expected_SA[ended_S] = expected_SA[ended_S].mean(-1, keepdims=True)
    np.testing.assert_allclose(objective.rewards(), expected_SA, atol=1e-6)


@pytest.mark.parametrize(
    ("env", "policy", "message"),
    [
        (GymEnvConfig(id="CartPole-v1"), {}, "environment CartPole-v1: its spaces are Box"),
        (GRID, {"encoder": {"hidden": [8]}}, "the policy is a table"),
    ],
)
def test_what_is_no_table_is_refused(env: GymEnvConfig | ImportEnvConfig, policy: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        on_its_own_reward(env, policy_for(env, **policy))

"""Policies and transitions for the tests of steps of reinforcement learning."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch

from distil.heads.config import AutoHeadConfig
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.steps import RLStep
from distil.objectives.transitions import Transitions
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.rewards.base import Rewards
from distil.spaces import action_spec, observation_spec

RATE = 3e-3
BOX = gym.spaces.Box(-1, 1, (2,), np.float32)
PLAIN = OptimiserConfig(weight_decay=0.0, grad_clip=None)


def policy(space: gym.Space = BOX, *, seed: int = 0, hidden: Sequence[int] = (16,)) -> Policy:
    """A fitted policy with a density, of 3 observations."""
    config = PolicyConfig(encoder=MlpConfig(hidden=tuple(hidden)), head=AutoHeadConfig(density=True))
    observation = observation_spec(gym.spaces.Box(-np.inf, np.inf, (3,), np.float32))
    made = Policy(config, observation, action_spec(space), seed=seed)
    rng = np.random.default_rng(0)
    made.fit_normaliser({"obs": rng.normal(0.5, 2, size=(50, 3)).astype("f4"), "action": np.zeros((50, 2), "f4")})
    return made


def transitions(of: Policy, num: int = 32, *, ended: Sequence[int] = (), seed: int = 0) -> Transitions:
    """Random steps; those in `ended` end the task."""
    rng = torch.Generator().manual_seed(seed)
    nvec = of.action.leaf.nvec
    choices = [torch.randint(n, (num,), generator=rng) for n in nvec]
    terminated = torch.zeros(num, dtype=torch.bool)
    terminated[list(ended)] = True
    return Transitions(
        observations={"obs": torch.randn(num, 1, 3, generator=rng)},
        actions_BA=torch.stack(choices, 1) if nvec else torch.rand(num, 2, generator=rng) * 1.8 - 0.9,
        next_observations={"obs": torch.randn(num, 1, 3, generator=rng)},
        terminated_B=terminated,
        is_expert_B=torch.zeros(num, dtype=torch.bool),
        rewards_B=None,
        extras={},
    )


def rewards(num: int = 32, *, value: float = 1.0, absorbing: float = 0.0) -> Rewards:
    """The same reward for each step."""
    return Rewards(rewards_B=torch.full((num,), value), absorbing_B=torch.full((num,), absorbing))


def tensors(step: RLStep, of: Policy) -> dict[str, torch.Tensor]:
    """A copy of everything that a checkpoint holds."""
    parts = {"policy": of.state_dict(), "networks": step.networks.state_dict(), **step.optimisers()}
    return {f"{part}.{name}": value.detach().clone() for part, found in parts.items() for name, value in found.items()}


def continued(step: RLStep, of: Policy, other: RLStep, its: Policy) -> None:
    """Load the state of one step and policy into another."""
    its.load_state_dict(of.state_dict())
    other.networks.load_state_dict(step.networks.state_dict())
    other.load_optimisers(step.optimisers())

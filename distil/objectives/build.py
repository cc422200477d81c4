"""Builds the parts of learning by interaction from their configuration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from distil.errors import InputError
from distil.heads.base import DensityHead
from distil.heads.categorical import CategoricalHead
from distil.heads.gaussian import GaussianHead
from distil.objectives.interaction import Interaction
from distil.objectives.rl_config import PpoConfig, SacConfig, StepConfig
from distil.objectives.steps import RLStep
from distil.rewards.config import LearnedConfig, RewardConfig

if TYPE_CHECKING:
    from distil.objectives.optimiser_config import OptimiserConfig
    from distil.objectives.ranks import Ranks
    from distil.policies.policy import Policy


def build(
    chosen: StepConfig, judge: RewardConfig, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, seed: int
) -> Interaction:
    """Return the objective; `seed` gives its other networks' start weights.

    Raises:
        InputError: the step doesn't fit the policy.
    """
    generator = torch.Generator().manual_seed(seed)
    leaf = policy.action.leaf
    num_action = sum(leaf.nvec) if leaf.nvec else math.prod(leaf.shape)
    step: RLStep
    if isinstance(chosen, SacConfig):
        from distil.objectives.sac import Sac

        _require(isinstance(policy.head, GaussianHead), "sac", "a Gaussian head: set policy.head.kind=gaussian")
        step = Sac(chosen, policy, optimiser, ranks, generator)
    elif isinstance(chosen, PpoConfig):
        from distil.objectives.ppo import Ppo

        _require(isinstance(policy.head, DensityHead), "ppo", "a head with a density: leave policy.head.kind at auto")
        step = Ppo(chosen, policy, optimiser, ranks, generator)
    else:
        from distil.objectives.soft_q import SoftQ

        fits = isinstance(policy.head, CategoricalHead) and len(leaf.nvec) == 1
        _require(fits, "soft_q", "one Discrete action: use a step for Box actions, such as sac")
        step = SoftQ(chosen, policy, optimiser, ranks)
    reward = judge.build(policy.encoder.features.size, num_action, generator)
    learned = judge if isinstance(judge, LearnedConfig) else None
    return Interaction(policy, step, reward, optimiser, ranks, learned)


def _require(fits: bool, step: str, need: str) -> None:
    if not fits:
        raise InputError(f"algorithm.step.kind={step} needs {need}")

"""Builds the parts of learning by interaction from their configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from distil.errors import InputError
from distil.heads.base import DensityHead
from distil.heads.categorical import CategoricalHead
from distil.heads.gaussian import GaussianHead
from distil.objectives.interaction import Interaction
from distil.objectives.judge import Judge
from distil.objectives.rl_config import AnyStepConfig, PpoConfig, SacConfig, SoftViConfig, StepConfig
from distil.objectives.soft_vi import SoftVi
from distil.objectives.steps import RLStep
from distil.rewards.base import RewardModel
from distil.rewards.config import CoherentConfig, LearnedConfig, OfPolicyConfig
from distil.rewards.given_config import AnyRewardConfig

if TYPE_CHECKING:
    from distil.envs.config import EnvConfig
    from distil.objectives.base import Objective
    from distil.objectives.optimiser_config import OptimiserConfig
    from distil.objectives.ranks import Ranks
    from distil.policies.policy import Policy


def build(
    chosen: AnyStepConfig,
    judge: AnyRewardConfig,
    policy: Policy,
    optimiser: OptimiserConfig,
    ranks: Ranks,
    seed: int,
    *,
    offline: bool = False,
    env: EnvConfig | None = None,
) -> Objective:
    """Return the objective.

    Args:
        chosen: the step.
        judge: the reward.
        policy: what to train.
        optimiser: how.
        ranks: the group.
        seed: of the other networks' start weights.
        offline: leave out the learner's own steps.
        env: the run's environment, for steps that plan in its dynamics.

    Raises:
        InputError: the step does not fit the policy or the environment.
    """
    _require_no_labels(policy)
    generator, leaf = torch.Generator().manual_seed(seed), policy.action.leaf
    num_action = sum(leaf.nvec) if leaf.nvec else math.prod(leaf.shape)
    step = None if isinstance(chosen, SoftViConfig) else _step(chosen, policy, optimiser, ranks, generator)
    reward: RewardModel
    if isinstance(judge, OfPolicyConfig):
        reward = judge.build(policy, policy.encoder.features.size, num_action, generator)
    else:
        reward = judge.build(policy.encoder.features.size, num_action, generator)
    reward.discount = chosen.discount
    if isinstance(chosen, SoftViConfig):
        return SoftVi(chosen, env, policy, Judge(policy, reward, optimiser, ranks, rate=0.0))
    assert step is not None
    _require_vectors(
        policy, {f"step.kind={chosen.kind}": step.reads_features, f"reward.kind={judge.kind}": reward.reads_features}
    )
    if not reward.needs_demos and policy.actions.is_open:
        raise InputError(
            "the action space has no bounds, and there are no demonstrations to take a range from: give the environment "
            "bounded actions, such as by the wrapper gymnasium.wrappers.RescaleAction"
        )
    rate = judge.rate if isinstance(judge, LearnedConfig) else 0.0
    clone_rate = 0.0
    if isinstance(judge, CoherentConfig):
        rate, clone_rate = judge.refinement.rate, judge.rate
    model = Judge(policy, reward, optimiser, ranks, rate=rate, clone_rate=clone_rate, config=judge)
    return Interaction(policy, step, model, optimiser, ranks, offline=offline)


def _require_no_labels(policy: Policy) -> None:
    """Raise InputError if a part of the policy needs labels, which policies that learn by acting lack."""
    if policy.actions.origin is not None:
        raise InputError(
            "policy.actions.kind=relative: policies that learn by acting take absolute actions; leave it at absolute"
        )
    if policy.head.needs_labels:
        raise InputError(
            f"policy.head.kind={policy.spec.head.kind} is fitted on labels of demonstrations: what learns by acting takes "
            "other heads; leave it at auto, or use algorithm.kind=bc or dagger"
        )


def _step(chosen: StepConfig, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, generator: torch.Generator) -> RLStep:
    """Return the step of reinforcement learning; InputError if it doesn't fit the policy."""
    leaf = policy.action.leaf
    if isinstance(chosen, SacConfig):
        from distil.objectives.sac import Sac

        _require(leaf.kind == "box", "sac", "Box actions: use a step for Discrete ones, such as soft_q or ppo")
        _require(isinstance(policy.head, GaussianHead), "sac", "a Gaussian head: set policy.head.kind=gaussian")
        return Sac(chosen, policy, optimiser, ranks, generator)
    if isinstance(chosen, PpoConfig):
        from distil.objectives.ppo import Ppo

        if optimiser.ema_decay is not None:
            raise InputError(
                "learner.ema_decay: algorithm.step.kind=ppo learns from what its own policy did, which an average would not "
                "have done: remove it, or use an off-policy step"
            )
        _require(isinstance(policy.head, DensityHead), "ppo", "a head with a density: leave policy.head.kind at auto")
        return Ppo(chosen, policy, optimiser, ranks, generator)
    from distil.objectives.soft_q import SoftQ

    fits = isinstance(policy.head, CategoricalHead) and len(leaf.nvec) == 1
    _require(fits, "soft_q", "one Discrete action: use a step for Box actions, such as sac")
    return SoftQ(chosen, policy, optimiser, ranks)


def _require_vectors(policy: Policy, readers: Mapping[str, bool]) -> None:
    """Raise InputError if a part that reads the feature vector would miss what the encoder reads as images."""
    seen = {part.leaf.name for part in policy.encoder.features.parts}
    images = [leaf.name for leaf in policy.observation.leaves if leaf.name not in seen]
    for part, reads in readers.items():
        if images and reads:
            raise InputError(
                f"algorithm.{part} reads observations as numbers, and the image {images[0]} is not among them: set "
                "policy.encoder.kind=mlp, which reads pixels as numbers, or use algorithm.kind=sqil or iq with Discrete actions"
            )


def _require(fits: bool, step: str, need: str) -> None:
    if not fits:
        raise InputError(f"algorithm.step.kind={step} needs {need}")

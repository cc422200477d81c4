"""A reward apart from the run that learned it: from observations and actions as they are stored to rewards.

It has no shaping term, no density of a policy and no mark of a task's end (CORRECTNESS 19): what follows the end is the reward
of the absorbing state.

Legend: B batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from distil.errors import InputError
from distil.nn.losses import LABEL_LIMIT
from distil.policies.action_scaling import Actions
from distil.policies.encoder import Features
from distil.policies.policy import Policy
from distil.rewards.base import RewardModel, Rewards, Steps
from distil.rewards.config import OfPolicyConfig, SavedRewardConfig
from distil.rewards.ref import RewardRef, RewardSpec
from distil.rewards.view import view


class FrozenReward(nn.Module):
    """A reward model with what standardises its inputs.

    Args:
        spec: what it is; its numbers are start values until they are loaded.
    """

    def __init__(self, spec: RewardSpec) -> None:
        super().__init__()
        self.spec = spec
        leaf, generator = spec.action.leaf, torch.Generator().manual_seed(0)
        num_action = sum(leaf.nvec) if leaf.nvec else math.prod(leaf.shape)
        self.actions = Actions(leaf)
        self.model: RewardModel
        if isinstance(spec.config, OfPolicyConfig):
            assert spec.policy is not None
            policy = Policy(spec.policy, spec.observation, spec.action)
            self.features = Features([part.leaf for part in policy.encoder.features.parts], spec.obs_clip)
            self.model = spec.config.build(policy, self.features.size, num_action, generator)
        else:
            self.features = Features(spec.observation.leaves, spec.obs_clip)
            self.model = spec.config.build(self.features.size, num_action, generator)
        self.model.discount = spec.discount
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, observations: Mapping[str, Tensor], actions: Tensor, next_observations: Mapping[str, Tensor]) -> Rewards:
        """Return the rewards of B steps.

        Args:
            observations: leaf name -> [B, 1, ...], as they are stored.
            actions: [B, 1, ...], executed ones.
            next_observations: as `observations`.
        """
        actions_BA = self.actions.encode(actions, observations)[:, 0]
        if actions_BA.is_floating_point():
            actions_BA = actions_BA.clamp(-LABEL_LIMIT, LABEL_LIMIT)  # as the model has seen them
        given = (observations, actions_BA, next_observations)
        features_BF, seen_BA, next_BF = view(self.model, self.features, self.spec.action.leaf, *given)
        no_BB = torch.zeros(len(actions_BA), dtype=torch.bool, device=actions_BA.device)
        steps = Steps(
            features_BF=features_BF,
            actions_BA=seen_BA,
            next_features_BF=next_BF,
            terminated_B=no_BB,
            is_expert_B=no_BB,
            observations=observations,
            next_observations=next_observations,
        )
        return self.model.elsewhere(steps)

    def ref(self, version: int) -> RewardRef:
        """Return a copy of the reward as plain data; `reward_of` reads it back."""
        arrays = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        return RewardRef(version=version, spec=self.spec, arrays=arrays)


def freeze(config: SavedRewardConfig, model: RewardModel, policy: Policy, discount: float) -> FrozenReward:
    """Return a copy of a reward model as it is now.

    Args:
        config: of the model.
        model: the reward model.
        policy: that it judges, whose features it reads.
        discount: of the return.
    """
    spec = RewardSpec(
        config=config,
        observation=policy.observation,
        action=policy.action,
        discount=discount,
        obs_clip=policy.config.obs_clip,
        policy=policy.config if isinstance(config, OfPolicyConfig) else None,
    )
    frozen = FrozenReward(spec).to(next(policy.parameters()).device)
    parts: tuple[tuple[nn.Module, nn.Module], ...] = (
        (frozen.features, policy.encoder.features),
        (frozen.actions, policy.actions),
        (frozen.model, model),
    )
    for own, its in parts:
        own.load_state_dict(its.state_dict())
    frozen.actions.refresh()
    return frozen


def reward_of(ref: RewardRef) -> FrozenReward:
    """Return the reward of a `RewardRef`; InputError if arrays and spec don't fit."""
    frozen = FrozenReward(ref.spec)
    own = frozen.state_dict()
    for name in sorted(own.keys() | ref.arrays.keys()):
        have, want = (tuple(found[name].shape) if name in found else "nothing" for found in (ref.arrays, own))
        if have != want:
            raise InputError(f"reward weights {name}: found {have}, expected {want}; use the file as it was written")
    frozen.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in ref.arrays.items()})
    frozen.actions.refresh()
    return frozen

"""How steps look to a reward model: standardised features, and actions as numbers.

Legend: B batch, F standardised features, A action (one-hot for discrete ones).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from distil.policies.encoder import Features
from distil.rewards.base import RewardModel
from distil.spaces import Leaf


def view(
    model: RewardModel,
    features: Features,
    action: Leaf,
    observations: Mapping[str, Tensor],
    actions_BA: Tensor,
    next_observations: Mapping[str, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features [B, F], the actions [B, A] and the next features [B, F] that a model sees.

    Args:
        model: whose steps they are; one that reads no features gets none, and the actions as they are.
        features: standardises.
        action: the action space.
        observations: leaf name -> [B, 1, ...], as they are stored.
        actions_BA: in the head's space.
        next_observations: as `observations`.
    """
    if not model.reads_features:
        empty_BF = torch.empty(len(actions_BA), 0, device=actions_BA.device)
        return empty_BF, actions_BA, empty_BF
    seen_BF, ahead_BF = (features(x).flatten(1) for x in (observations, next_observations))
    if not actions_BA.is_floating_point():
        actions_BA = torch.cat([one_hot(actions_BA[:, i], n) for i, n in enumerate(action.nvec)], -1).float()
    return seen_BF, actions_BA, ahead_BF

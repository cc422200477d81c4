"""Steps for the tests of reward models."""

import torch

from distil.rewards.base import Steps


def steps(num: int, ended: list[int] | None = None) -> Steps:
    """Random steps of 3 features and 2 actions; those in `ended` end the task."""
    generator = torch.Generator().manual_seed(num)
    terminated = torch.zeros(num, dtype=torch.bool)
    terminated[ended or []] = True
    return Steps(
        features_BF=torch.randn(num, 3, generator=generator),
        actions_BA=torch.randn(num, 2, generator=generator),
        next_features_BF=torch.randn(num, 3, generator=generator),
        terminated_B=terminated,
        is_expert_B=torch.zeros(num, dtype=torch.bool),
    )

"""Supervised imitation: minimise the policy's own loss on labelled windows of demonstrations.

Legend: B batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distil.objectives.base import DEMOS
from distil.objectives.gradient import GradientObjective
from distil.policies.policy import Policy, PolicyLoss
from distil.types import Batch


class Supervised(GradientObjective):
    """The objective of behavioural cloning and DAgger."""

    def loss(self, policy: Policy, batches: Mapping[str, Batch], generator: torch.Generator) -> Tensor:
        """Return the policy's loss of each window, [B]."""
        return policy.loss(batches[DEMOS], generator=generator)

    def losses(self, policy: Policy, batches: Mapping[str, Batch], generator: torch.Generator) -> PolicyLoss:
        """Return the policy's loss of each window, with its heads' figures."""
        return policy.losses(batches[DEMOS], generator=generator)

"""The two-step head: regression that answers, and then answers again with its first answer in view.

Pan et al., 2025, "Much Ado About Noising: Dispelling the Myths of Generative Robotic Control", arXiv:2512.01809: the minimal
iterative policy. They hold that supervised iteration with noise, not the fit of a distribution, is what diffusion and flow
policies gain from. It has one answer a state, as a deterministic head has.

Legend: B batch, T action chunk, A action dimension.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from distil.heads.base import Context, HeadLoss, NoiseKind
from distil.heads.iterative import IterativeHead
from distil.heads.samplers import TwoSteps
from distil.nn.chunks_config import ChunkNetworkConfig
from distil.nn.losses import squared_error
from distil.nn.rows import normal
from distil.spaces import Leaf


class TwoStepHead(IterativeHead):
    """The first step sees nothing of the action, the second one sees level * action + (1 - level) * noise, in training."""

    noise_kind: ClassVar[NoiseKind] = "none"

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        network: ChunkNetworkConfig,
        level: float,
    ) -> None:
        super().__init__(action, context_dim, chunk, generator, network=network, sampler=TwoSteps(level=level))
        self._level = level

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the sum of both steps' squared errors, mean over the action's dimensions: [B, T]."""
        actions_BTA = self.own(actions_BTA, is_pad_BT)
        noise_BTA = normal(actions_BTA.shape, generator, actions_BTA.device)
        level_B = actions_BTA.new_full((len(actions_BTA),), self._level)
        first_BTA = self.call(context, torch.zeros_like(actions_BTA), torch.zeros_like(level_B))
        second_BTA = self.call(context, torch.lerp(noise_BTA, actions_BTA, self._level), level_B)
        return HeadLoss(loss_BT=squared_error(first_BTA, actions_BTA) + squared_error(second_BTA, actions_BTA))

    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return the one action: there is nothing to draw."""
        return self.point(context)

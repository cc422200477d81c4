"""The diffusion head: noise is taken away from a chunk, level by level.

Ho et al., 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, equation 14 (training); sampling by DDIM. As a
policy over chunks: Chi et al., 2023, "Diffusion Policy", arXiv:2303.04137.

Legend: B batch, T action chunk, A action dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distil.heads.base import Context, HeadLoss
from distil.heads.iterative import IterativeHead
from distil.heads.samplers import Ddim, signal_and_noise
from distil.nn.chunks_config import ChunkNetworkConfig
from distil.nn.losses import squared_error
from distil.nn.rows import integers, normal
from distil.spaces import Leaf


class DiffusionHead(IterativeHead):
    """Predicts the noise, the action, or v = signal * noise - noise_level * action (Salimans and Ho, 2022, section 4)."""

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        network: ChunkNetworkConfig,
        sampler: Ddim,
    ) -> None:
        super().__init__(action, context_dim, chunk, generator, network=network, sampler=sampler)
        self._num_levels, self._target = sampler.num_levels, sampler.target

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the squared error of the target at a random level, mean over the action's dimensions: [B, T]."""
        actions_BTA = self.own(actions_BTA, is_pad_BT)
        noise_BTA = normal(actions_BTA.shape, generator, actions_BTA.device)
        level_B = integers(self._num_levels, noise_BTA.shape[:1], generator, noise_BTA.device)
        time_B = (level_B + 1) / self._num_levels
        signal_B11, share_B11 = signal_and_noise(time_B[:, None, None], torch.sqrt, torch.cos)
        x_BTA = signal_B11 * actions_BTA + share_B11 * noise_BTA
        target_BTA = {
            "epsilon": noise_BTA,
            "x0": actions_BTA,
            "v": signal_B11 * noise_BTA - share_B11 * actions_BTA,
        }[self._target]
        return HeadLoss(loss_BT=squared_error(self.call(context, x_BTA, time_B), target_BTA))

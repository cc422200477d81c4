"""The shortcut head: a flow whose network is told how long a step is, so that one step is enough.

Frans et al., 2024, "One Step Diffusion via Shortcut Models", arXiv:2410.12557, equations 3 to 5. Their targets come from an
average of the weights; these come from the weights themselves.

Legend: B batch, T action chunk, A action dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distil.heads.base import Context, HeadLoss
from distil.heads.iterative import IterativeHead
from distil.heads.samplers import Shortcuts
from distil.nn.chunks_config import ChunkNetworkConfig
from distil.nn.losses import squared_error
from distil.nn.rows import integers, normal, uniform
from distil.spaces import Leaf

_LONG = slice(None, None, 4)  # the rows that learn that a long step is two short ones


class ShortcutHead(IterativeHead):
    """Steps of length 0 learn the flow; those of 1, 1/2, 1/4 ... learn to be two of half that length."""

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        network: ChunkNetworkConfig,
        sampler: Shortcuts,
        num_halvings: int,
    ) -> None:
        super().__init__(action, context_dim, chunk, generator, network=network, sampler=sampler)
        self._num_halvings = num_halvings

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the squared error of each step's end, mean over the action's dimensions: [B, T].

        Every fourth row learns a long step: rows come in random order.
        """
        actions_BTA = self.own(actions_BTA, is_pad_BT)
        noise_BTA = normal(actions_BTA.shape, generator, actions_BTA.device)
        time_B = uniform(actions_BTA.shape[:1], generator, actions_BTA.device)
        level_B = integers(self._num_halvings, actions_BTA.shape[:1], generator, actions_BTA.device)
        length_N = 0.5 ** level_B[_LONG].float()  # of the long step; it starts at a multiple of itself
        time_B[_LONG] = (time_B[_LONG] / length_N).floor() * length_N
        length_B = torch.zeros_like(time_B)
        length_B[_LONG] = length_N
        x_BTA = torch.lerp(noise_BTA, actions_BTA, time_B[:, None, None])
        part = Context(
            pooled_BD=context.pooled_BD[_LONG],
            tokens_BLD=None if context.tokens_BLD is None else context.tokens_BLD[_LONG],
        )
        target_BTA = actions_BTA.clone()
        target_BTA[_LONG] = self._two_steps(part, x_BTA[_LONG], time_B[_LONG], length_N / 2)
        return HeadLoss(loss_BT=squared_error(self.call(context, x_BTA, time_B, length_B), target_BTA))

    @torch.no_grad()
    def _two_steps(self, context: Context, x_BTA: Tensor, time_B: Tensor, length_B: Tensor) -> Tensor:
        """Return the end that two steps of this length point at. The shortest ones follow the flow itself."""
        told_B = length_B.masked_fill(length_B <= 0.5**self._num_halvings, 0.0)
        place_BTA, now_B = x_BTA, time_B
        for _ in range(2):
            left_B = 1 - now_B
            end_BTA = self.call(context, place_BTA, now_B, told_B)
            place_BTA = torch.lerp(place_BTA, end_BTA, (length_B / left_B)[:, None, None])
            now_B = now_B + length_B
        whole_B = ((1 - time_B) / (2 * length_B))[:, None, None]
        return x_BTA + (place_BTA - x_BTA) * whole_B

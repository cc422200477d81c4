"""What heads share that come to a chunk in some calls of a network: diffusion, flow matching, shortcuts, two-step regression.

Legend: B batch, T action chunk, A action dimension, D context feature, K noise, S scalars.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from distil.heads.base import Context, Head, NoiseKind, line_of
from distil.heads.samplers import Sampler
from distil.nn.chunks import ChunkSizes
from distil.nn.chunks_config import ChunkNetworkConfig
from distil.spaces import Leaf

_LEAST_DEVIATION = 1e-3  # of numbers that don't vary, in halves of the range


class IterativeHead(Head):
    """A head whose sampler calls a `ChunkNetwork`, in a space of its own that is a line away from the head's.

    There each number of a chunk has mean 0 and deviation 1, as the noise has. Otherwise small ones drown in it: actions
    relative to where the robot is are close to 0 at the start of a chunk, and far from it at the end.
    """

    noise_kind: ClassVar[NoiseKind] = "normal"
    needs_labels = True
    slope: Tensor
    shift: Tensor

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        network: ChunkNetworkConfig,
        sampler: Sampler,
        num_in: int | None = None,
    ) -> None:
        """See `Head`; `num_in` are the numbers of each step that the network starts from, A if None."""
        super().__init__()
        size = math.prod(action.shape)
        self._shape = (chunk, size)
        self._sampler = sampler
        self.noise_size = chunk * size if self.noise_kind == "normal" else 0
        sizes = ChunkSizes(
            num_in=num_in or size, num_out=size, chunk=chunk, num_scalars=sampler.num_scalars, context_dim=context_dim
        )
        self.network = network.build(sizes, generator=generator)
        self.register_buffer("slope", torch.ones(self._shape))
        self.register_buffer("shift", torch.zeros(self._shape))

    def fit_labels(self, chunks_RTA: Tensor, seed: int) -> None:
        """Take mean and deviation of each number of a chunk for the line. The head can be used without, as its labels are."""
        self.slope.copy_(chunks_RTA.std(0, correction=0).clamp(min=_LEAST_DEVIATION))
        self.shift.copy_(chunks_RTA.mean(0))

    def point(self, context: Context) -> Tensor:
        """Return what noise of 0 leads to, [B, T, A] in [-1, 1]."""
        return self._sampled(context, context.pooled_BD.new_zeros(len(context.pooled_BD), *self._shape))

    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return what the noise leads to, [B, T, A] in [-1, 1]."""
        return self._sampled(context, noise_BK.view(-1, *self._shape))

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Keep all actions inside the old range: the network's own space stays as it is.

        Estimates on the way may reach as far as the new range.
        """
        slope_A, shift_A = line_of(slope_A, shift_A)
        self.slope.mul_(slope_A)
        self.shift.mul_(slope_A).add_(shift_A)

    def own(self, actions_BTA: Tensor, is_pad_BT: Tensor) -> Tensor:
        """Return labels in the network's space; 0 for pads, so that what they hold tells the other steps nothing."""
        return ((actions_BTA - self.shift) / self.slope).masked_fill(is_pad_BT[..., None], 0.0)

    def call(self, context: Context, x_BTA: Tensor, *scalars_B: Tensor) -> Tensor:
        """Return the network's chunk, [B, T, A] float32."""
        scalars_BS = torch.stack(scalars_B, -1) if scalars_B else x_BTA.new_zeros(len(x_BTA), 0)
        found: Tensor = self.network(x_BTA, scalars_BS, context.pooled_BD, context.tokens_BLD)
        return found.float()

    def _sampled(self, context: Context, start_BTA: Tensor) -> Tensor:
        def network(x_BTA: Tensor, *scalars: float) -> Tensor:
            return self.call(context, x_BTA, *(x_BTA.new_full((len(x_BTA),), scalar) for scalar in scalars))

        limits = ((bound - self.shift) / self.slope for bound in (-1, 1))  # of actions, in the own space
        found: Tensor = self._sampler(network, start_BTA, *limits)
        return (found * self.slope + self.shift).clamp(-1, 1)

"""A U-Net over the steps of a chunk: a `ChunkNetwork`.

Convolutions over time at several lengths, each half the one before, and back up, where the earlier results of each length come
in again (Janner et al., 2022, "Planning with Diffusion for Flexible Behavior Synthesis", arXiv:2205.09991, figure A1). Times
and context scale and shift the features of each block (FiLM: Perez et al., 2018, arXiv:1709.07871, equation 2), as in Chi et
al., 2023, "Diffusion Policy", arXiv:2303.04137, section III-A.

Legend: B batch, T steps of a chunk (at some length), I numbers of a step in, O numbers of a step out, C channels, S scalars,
D context feature, L tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad, silu

from distil.nn.chunks import ChunkNetwork, ChunkSizes
from distil.nn.mlp import linear
from distil.nn.time_features import TIME_FEATURES

_KERNEL = 5
_GROUPS = 8  # of channels that are normalised together (Wu and He, 2018, arXiv:1803.08494)


class Conv(nn.Module):
    """A convolution over the steps: [B, C, 1, T] -> [B, num_out, 1, T / stride].

    Steps are images of one row, with the channels last in memory. At batch 1, that is up to five times as fast as torch's
    `Conv1d`, which reorders its weights at each call.
    """

    def __init__(self, num_in: int, num_out: int, generator: torch.Generator, kernel: int = _KERNEL, stride: int = 1) -> None:
        super().__init__()
        self._stride, self._padding = (1, stride), (0, kernel // 2)
        bound = 1 / math.sqrt(kernel * num_in)
        self.weight = nn.Parameter(torch.empty(num_out, kernel, num_in).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.empty(num_out).uniform_(-bound, bound, generator=generator))

    def forward(self, x_BC1T: Tensor) -> Tensor:
        """Return the features of each step; steps before the first and after the last one count as 0."""
        return conv2d(x_BC1T, self.weight.transpose(1, 2)[:, :, None], self.bias, self._stride, self._padding)


class _Block(nn.Module):
    """Two convolutions, each normalised and activated, between which times and context come in; added to the input."""

    def __init__(self, num_in: int, num_out: int, generator: torch.Generator) -> None:
        super().__init__()
        groups = min(_GROUPS, num_out // 8)  # of at least 8 channels: fewer numbers have no stable deviation
        self.first, self.first_norm = Conv(num_in, num_out, generator), nn.GroupNorm(groups, num_out)
        self.second, self.second_norm = Conv(num_out, num_out, generator), nn.GroupNorm(groups, num_out)
        self.skip = nn.Identity() if num_in == num_out else Conv(num_in, num_out, generator, kernel=1)

    def forward(self, x_BC1T: Tensor, film_BC: Tensor) -> Tensor:
        """Return the features [B, num_out, 1, T]; `film_BC` has two numbers a feature."""
        scale_BC11, shift_BC11 = film_BC[:, :, None, None].chunk(2, 1)
        h_BC1T = silu(self.first_norm(self.first(x_BC1T)))
        h_BC1T = torch.addcmul(h_BC1T + shift_BC11, h_BC1T, scale_BC11)
        h_BC1T = silu(self.second_norm(self.second(h_BC1T)))
        out: Tensor = h_BC1T + self.skip(x_BC1T)
        return out


class _Level(nn.Module):
    """The blocks of one length."""

    def __init__(self, num_in: int, width: int, num_blocks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.films = num_blocks * [2 * width]  # numbers that each block takes
        self.blocks = nn.ModuleList(_Block(width if i else num_in, width, generator) for i in range(num_blocks))

    def forward(self, x_BC1T: Tensor, films: Iterator[Tensor]) -> Tensor:
        """Return the features of the last block."""
        for block in self.blocks:
            x_BC1T = block(x_BC1T, next(films))
        return x_BC1T


class ChunkUnet(ChunkNetwork):
    """It takes chunks of any length: one that can't be halved as often as needed is filled up with zeros."""

    def __init__(
        self,
        sizes: ChunkSizes,
        generator: torch.Generator,
        *,
        channels: Sequence[int],
        num_blocks: int,
    ) -> None:
        super().__init__()
        self._chunk, self._fill = sizes.chunk, -sizes.chunk % 2 ** (len(channels) - 1)
        down = [_Level(a, b, num_blocks, generator) for a, b in zip([sizes.num_in, *channels[:-1]], channels, strict=True)]
        halve = [Conv(width, width, generator, kernel=3, stride=2) for width in channels[:-1]]
        up = [_Level(a + b, a, num_blocks, generator) for a, b in itertools.pairwise(channels)][::-1]
        self._sizes = [size for level in (*down, *up) for size in level.films]
        self.down, self.halve, self.up = nn.ModuleList(down), nn.ModuleList(halve), nn.ModuleList(up)
        self.out = Conv(channels[0], sizes.num_out, generator, kernel=1)
        self.condition = linear(sizes.num_scalars * TIME_FEATURES + sizes.context_dim, 2 * channels[-1], generator)
        self.film = linear(2 * channels[-1], sum(self._sizes), generator)

    def forward(self, x_BTI: Tensor, scalars_BS: Tensor, pooled_BD: Tensor, tokens_BLD: Tensor | None = None) -> Tensor:
        """Return a chunk [B, T, O]; tokens are not read."""
        condition_BC = silu(self.condition(torch.cat([self.times(scalars_BS), pooled_BD], -1)))
        films = iter(self.film(condition_BC).split(self._sizes, -1))
        h_BC1T = self.down[0](pad(x_BTI, (0, 0, 0, self._fill)).transpose(1, 2)[:, :, None], films)
        found = list[Tensor]()
        for halve, level in zip(self.halve, list(self.down)[1:], strict=True):
            found.append(h_BC1T)
            h_BC1T = level(halve(h_BC1T), films)
        for level in self.up:
            h_BC1T = level(torch.cat([interpolate(h_BC1T, scale_factor=(1, 2)), found.pop()], 1), films)
        out_BO1T: Tensor = self.out(h_BC1T)
        return out_BO1T.squeeze(2).transpose(1, 2)[:, : self._chunk]

"""What every head is: from a context to actions, and the loss that trains it.

Heads know nothing of environments. A Box action reaches them flattened and normalised to [-1, 1]; the factors of Discrete,
MultiDiscrete and MultiBinary reach them as integers from 0 on.

Legend: B batch, T action chunk, A action dimension (or factor), D context feature, K noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

NoiseKind = Literal["none", "normal", "uniform"]


class Head(nn.Module, ABC):
    """An action distribution given a context.

    Attributes:
        noise_kind: what `sample_from` is fed: standard normal, uniform in [0, 1), or nothing.
        noise_size: K, how many of those one sample takes.
    """

    noise_kind: ClassVar[NoiseKind] = "none"
    noise_size: int = 0

    @abstractmethod
    def loss(self, context_BD: Tensor, actions_BTA: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each step, [B, T]; `generator` serves heads whose loss is random."""

    @abstractmethod
    def mode(self, context_BD: Tensor) -> Tensor:
        """Return the deterministic action, [B, T, A]."""

    @abstractmethod
    def sample_from(self, context_BD: Tensor, noise_BK: Tensor) -> Tensor:
        """Return the sample [B, T, A] that the given noise leads to: a pure function, row by row."""

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Let tanh's argument u become `slope * u + shift` in each dimension of a Box action: its scaling was widened."""
        raise NotImplementedError

    def sample(self, context_BD: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return one sample a row, [B, T, A]."""
        draw = torch.rand if self.noise_kind == "uniform" else torch.randn
        shape = (len(context_BD), self.noise_size)
        return self.sample_from(context_BD, draw(shape, generator=generator, device=context_BD.device))


class DensityHead(Head, ABC):
    """A head with a density (or probability) that can be evaluated."""

    @abstractmethod
    def log_prob(self, context_BD: Tensor, actions_BTA: Tensor) -> Tensor:
        """Return the log density of each step's action, summed over its dimensions, in the head's action space: [B, T]."""

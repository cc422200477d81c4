"""What every head is: from a context to actions, and the loss that trains it.

    Features -> Backbone -> Context(pooled_BD, tokens_BLD | None) -> Head

Heads know nothing of environments. A Box action reaches them flattened and normalised to [-1, 1]; the factors of Discrete,
MultiDiscrete and MultiBinary reach them as integers from 0 on.

Legend: B batch, L tokens, T action chunk, A action dimension (or factor), D context feature, K noise, M members, R chunks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from distil.errors import InputError
from distil.heads.combine import Combined, by_kind
from distil.heads.twins import NumpyHead
from distil.spaces import Leaf
from distil.types import Array

NoiseKind = Literal["none", "normal", "uniform"]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a backbone makes of the observations."""

    pooled_BD: Tensor  # one vector a sample
    tokens_BLD: Tensor | None = None  # a sequence, such as one vector a frame or image patch; None: this backbone has none


@dataclass(frozen=True, kw_only=True)
class HeadLoss:
    """The loss of each step, and figures that a user may want to see."""

    loss_BT: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)  # name -> scalar, or [B, T]: its mean over the valid steps


class Head(nn.Module, ABC):
    """An action distribution given a context. The constructor takes `(action: Leaf, context_dim, chunk, ...)`.

    Attributes:
        noise_kind: what `sample_from` is fed: standard normal, uniform in [0, 1), or nothing.
        noise_size: K, how many of those one sample takes.
        needs_labels: whether `fit_labels` must be called before it is used. Until then a buffer of it holds NaN.
    """

    noise_kind: ClassVar[NoiseKind] = "none"
    needs_labels: bool = False
    noise_size: int = 0

    @abstractmethod
    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the loss of each step.

        Args:
            context: from the backbone.
            actions_BTA: labels.
            is_pad_BT: bool, the steps without a label. Their losses are left out afterwards; a head whose steps see each other
                must leave them out itself.
            generator: for heads whose loss is random. What `distil.nn.rows` draws with it is the same for any number of ranks.
        """

    @abstractmethod
    def point(self, context: Context) -> Tensor:
        """Return the default action, [B, T, A]: the mode, median or mean, as the head documents."""

    @abstractmethod
    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return the sample [B, T, A] that the given noise leads to: a pure function, row by row."""

    def fit_labels(self, chunks_RTA: Tensor, seed: int) -> None:
        """Set buffers from the training labels, such as the centres of clusters: once, before the first gradient step.

        Args:
            chunks_RTA: some 50,000 of them at most, spread over the data, all of whose steps are labelled. Sample weights don't
                count.
            seed: of what is random; equal on all ranks, another one for each member of an ensemble.
        """

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Adapt to a wider scaling of a Box action: let tanh's argument u become `slope * u + shift` in each dimension."""
        raise NotImplementedError

    @classmethod
    def combine(cls, points_MBTA: Array) -> Combined:
        """Return the action of an ensemble of this head, and how much its members disagree; numpy.

        Args:
            points_MBTA: the members' default actions.
        """
        return by_kind(points_MBTA)

    @classmethod
    def numpy_twin(cls, action: Leaf, chunk: int, **kwargs: Any) -> NumpyHead | None:
        """Return the head in numpy, for rollout workers; None: it acts through torch. `kwargs` are the constructor's."""
        return None

    def sample(self, context: Context, *, generator: torch.Generator | None = None) -> Tensor:
        """Return one sample a row, [B, T, A]."""
        draw = torch.rand if self.noise_kind == "uniform" else torch.randn
        pooled_BD = context.pooled_BD
        return self.sample_from(context, draw(len(pooled_BD), self.noise_size, generator=generator, device=pooled_BD.device))


class DensityHead(Head, ABC):
    """A head with a density (or probability) that can be evaluated."""

    @abstractmethod
    def log_prob(self, context: Context, actions_BTA: Tensor) -> Tensor:
        """Return the log density of each step's action, summed over its dimensions, in the head's action space: [B, T]."""

    def entropy(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return the entropy of each step's action in nats, [B, T]: exact, or by one sample (minus its log density).

        Args:
            context: from the backbone.
            noise_BK: standard normal, for an estimate.
        """
        raise InputError(f"head {type(self).__name__}: has no method entropy, which PPO asks for; define it")


def line_of(slope_A: Tensor, shift_A: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and shift of head actions, without tanh, for those of a `rescale`: actions stay the same, exactly.

    It is the line through the two actions, halfway between the old centre and the old ends, that stay under tanh, too.
    """
    high_A, low_A = ((side * math.atanh(0.5) * slope_A + shift_A).tanh() for side in (1, -1))
    return high_A - low_A, (high_A + low_A) / 2

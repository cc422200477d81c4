"""The bins head: each number of a chunk is one of N bins, given the numbers before it; a piecewise constant density.

p(a_1 .. a_D) = prod_d p(bin_d | bin_1 .. bin_d-1) / width(bin_d) over the D = T A numbers of a chunk, step after step. The
choices are those of a neural autoregressive distribution estimator (see `distil.nn.nade`), so that the density takes any shape
that the bins can show, and ways through a chunk are kept apart.

Legend: B batch, T action chunk, A action dimension, D numbers of a chunk, N bins, E edges, H hidden unit, K noise, R chunks.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from distil.heads.base import Context, DensityHead, HeadLoss, line_of
from distil.nn.choices import drawn
from distil.nn.nade import Nade
from distil.spaces import Leaf
from distil.types import Array

_EVENLY = 0.25  # share of quantile bins that lie evenly over the range: labels of later rounds may be elsewhere
_GAP = 1e-4  # least width of a bin: a value that many labels have is told from its neighbours with this precision
_HARDLY = -8.0  # logit of a bin that a wider scaling adds, relative to its neighbour's


class BinsHead(DensityHead):
    """A density on [-1, 1]^(T A), constant in each cell of a grid. Labels out of it count as those on its border."""

    noise_kind = "uniform"
    edges: Tensor  # [A, N + 1] from -1 to 1

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        num_bins: int,
        spacing: Literal["uniform", "quantile"],
        hidden: int,
        temperature: float,
    ) -> None:
        super().__init__()
        self._shape = (chunk, math.prod(action.shape))
        self._evenly = 1.0 if spacing == "uniform" else _EVENLY
        self._temperature = temperature
        self.needs_labels = spacing == "quantile"
        self.noise_size = 2 * math.prod(self._shape)  # which bin, and where in it
        self.nade = Nade(context_dim, math.prod(self._shape), num_bins, hidden, generator)
        edges_E = torch.linspace(-1, 1, num_bins + 1) if spacing == "uniform" else torch.full((num_bins + 1,), math.nan)
        self.register_buffer("edges", edges_E.repeat(self._shape[1], 1))

    def fit_labels(self, chunks_RTA: Tensor, seed: int) -> None:
        """Set the edges of quantile bins, alike for all steps of a chunk."""
        if not self.needs_labels:
            return
        labels_LA = np.sort(chunks_RTA.flatten(0, 1).double().cpu().numpy().clip(-1, 1), 0)
        below_2L = np.arange(len(labels_LA)).repeat(2) + np.tile([0, 1], len(labels_LA))  # the cumulative count jumps at each
        for a, labels_L in enumerate(labels_LA.T):
            # A little below, so that a value that many labels have is inside of a narrow bin.
            edges_E = self._spaced(labels_L.repeat(2) - _GAP / 4, below_2L / len(labels_LA))
            self.edges[a].copy_(torch.from_numpy(edges_E))

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return minus the log density of each step given the labelled ones before it, in nats: [B, T]."""
        return HeadLoss(loss_BT=-self._given_earlier(context, actions_BTA, is_pad_BT))

    def log_prob(self, context: Context, actions_BTA: Tensor) -> Tensor:
        """Return the log density of each step's action given those before it in the chunk, [B, T]: their sum is the chunk's."""
        return self._given_earlier(context, actions_BTA, None)

    def _given_earlier(self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor | None) -> Tensor:
        bins_BTA = (actions_BTA[..., None] >= self.edges[:, 1:-1]).sum(-1)
        bins_BD = bins_BTA.flatten(1)
        is_missing_BD = None if is_pad_BT is None else is_pad_BT.repeat_interleave(self._shape[1], 1)
        hidden_BDH = self.nade.hidden(context.pooled_BD, bins_BD, is_missing_BD)
        log_p_BD1 = self.nade.logits(hidden_BDH).log_softmax(-1).gather(-1, bins_BD[..., None])
        log_width_BTA = self._of_bins(self.edges.diff(dim=-1).log(), bins_BTA)
        return (log_p_BD1.view(bins_BTA.shape) - log_width_BTA).sum(-1)

    def point(self, context: Context) -> Tensor:
        """Return the middle of the likeliest bin of each number, given those of the numbers before it: [B, T, A]."""
        bins_BD, _ = self.nade.choose(context.pooled_BD, lambda logits_BN, _: logits_BN.argmax(-1))
        return self._of_bins((self.edges[:, 1:] + self.edges[:, :-1]) / 2, bins_BD.view(-1, *self._shape))

    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return a sample, [B, T, A]: bins at the temperature by the first half of the noise, places in them by the second."""
        chance_BD, place_BD = noise_BK.tensor_split(2, -1)
        bins_BD, _ = self.nade.choose(
            context.pooled_BD, lambda logits_BN, d: drawn(logits_BN / self._temperature, chance_BD[:, d])
        )
        bins_BTA = bins_BD.view(-1, *self._shape)
        low_BTA, width_BTA = self._of_bins(self.edges[:, :-1], bins_BTA), self._of_bins(self.edges.diff(dim=-1), bins_BTA)
        return low_BTA + place_BD.view(bins_BTA.shape) * width_BTA

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Space the bins over the wider range again; each takes the weights of the old bin in which its middle lies."""
        slope_A, shift_A = line_of(slope_A, shift_A)
        old_AE = self.edges * slope_A[:, None] + shift_A[:, None]
        share_E = np.linspace(0, 1, old_AE.shape[1])
        for a, points_E in enumerate(old_AE.double().cpu().numpy()):
            self.edges[a].copy_(torch.from_numpy(self._spaced(points_E, share_E)))
        middle_AN = (self.edges[:, 1:] + self.edges[:, :-1]) / 2
        source_AN = (middle_AN[..., None] >= old_AE[:, None, 1:-1]).sum(-1)
        share_AN = self.edges.diff(dim=-1).log() - old_AE.diff(dim=-1).log().gather(1, source_AN)
        is_new_AN = (middle_AN < old_AE[:, :1]) | (middle_AN > old_AE[:, -1:])
        source_DN, share_DN = source_AN.repeat(self._shape[0], 1), (share_AN + _HARDLY * is_new_AN).repeat(self._shape[0], 1)
        for weights_DNH in (self.nade.embedding, self.nade.weight):
            weights_DNH.copy_(weights_DNH.gather(1, source_DN[..., None].expand_as(weights_DNH)))
        self.nade.bias.copy_(self.nade.bias.gather(1, source_DN) + share_DN)

    def _spaced(self, points_P: Array, below_P: Array) -> Array:
        """Return N + 1 edges from -1 to 1 between which are equal shares of two densities: an even one, and that of the points.

        Args:
            points_P: ascending; those that are equal make narrow bins.
            below_P: the cumulative share at each.
        """
        num, points_P = self.edges.shape[1] - 1, points_P.clip(-1, 1)
        share_P = (1 - self._evenly) * below_P + self._evenly * (points_P + 1) / 2
        edges_E = np.interp(np.linspace(0, 1, num + 1), [0, *share_P, 1], [-1, *points_P, 1])
        gaps_E = _GAP * np.arange(num + 1)
        spread: Array = np.minimum(np.maximum.accumulate(edges_E - gaps_E), 1 - gaps_E[-1]) + gaps_E
        return spread

    def _of_bins(self, values_AN: Tensor, bins_BTA: Tensor) -> Tensor:
        """Return the value of each number's bin, [B, T, A]."""
        return values_AN[torch.arange(len(values_AN), device=values_AN.device), bins_BTA]

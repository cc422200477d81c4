"""The codes head: one of K typical chunks by its probability, and an offset from it.

With one level it is the head of Behavior Transformer (Shafiullah et al., 2022, arXiv:2206.11251, sections 3.1 and 3.3): k-means
of the labels, a choice of a cluster, and an offset that is learned for the label's own cluster. With more, each level is a
k-means of what the level before left over, as in VQ-BeT (Lee et al., 2024, arXiv:2403.03181); but these codes are of the chunks
themselves, not of a learned autoencoder's latents. Where the papers predict clusters and levels side by side, here each level's
choice, and the offset after the last, see the choices before (`distil.nn.nade`), so that levels fit each other.

Legend: B batch, T action chunk, A action dimension, D = T A numbers of a chunk, L level, K code, H hidden unit, R chunks.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from distil.heads.base import Context, Head, HeadLoss, line_of
from distil.nn.choices import drawn
from distil.nn.losses import squared_error
from distil.nn.mlp import linear
from distil.nn.nade import Nade
from distil.seeding import generator as seeded
from distil.spaces import Leaf
from distil.types import Array

_ITERATIONS = 20  # of k-means


class CodesHead(Head):
    """A choice among chunks that were found in the data, and a regression around each."""

    noise_kind = "uniform"
    needs_labels = True
    codes: Tensor  # [L, K, D]

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        num_codes: int,
        num_levels: int,
        offset_weight: float,
        focal: float,
        hidden: int,
    ) -> None:
        super().__init__()
        self._shape = (chunk, math.prod(action.shape))
        self._offset_weight, self._focal = offset_weight, focal
        self.noise_size = num_levels
        self.nade = Nade(context_dim, num_levels, num_codes, hidden, generator)
        self.offset = linear(hidden, math.prod(self._shape), generator)
        self.register_buffer("codes", torch.full((num_levels, num_codes, math.prod(self._shape)), math.nan))

    def fit_labels(self, chunks_RTA: Tensor, seed: int) -> None:
        """Find the codes of each level."""
        left_RD: Array = chunks_RTA.flatten(1).float().cpu().numpy().copy()
        for level, codes_KD in enumerate(self.codes):
            centres_KD, nearest_R = _clusters(left_RD, len(codes_KD), seeded(seed, "level", level))
            codes_KD.copy_(torch.from_numpy(centres_KD))
            left_RD -= centres_KD[nearest_R]

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the codes' negative log-likelihood, alike for all steps, plus the weighted squared error of each step: [B, T].

        With `focal` g it is -(1 - p)^g log p instead (Lin et al., 2017, "Focal Loss for Dense Object Detection", equation 4).
        """
        codes_BL = self._nearest(actions_BTA, is_pad_BT)
        hidden_BLH = self.nade.hidden(context.pooled_BD, codes_BL)
        log_p_BL = self.nade.logits(hidden_BLH).log_softmax(-1).gather(-1, codes_BL[..., None]).squeeze(-1)
        code_BL = -log_p_BL * (1 - log_p_BL.exp()).pow(self._focal) if self._focal else -log_p_BL
        code_BT = code_BL.sum(-1, keepdim=True).expand(is_pad_BT.shape)
        offset_BT = squared_error(self._chunk(codes_BL, hidden_BLH[:, -1]), actions_BTA)
        extras = {"code_loss": code_BT, "offset_loss": offset_BT}
        return HeadLoss(loss_BT=code_BT + self._offset_weight * offset_BT, extras=extras)

    def point(self, context: Context) -> Tensor:
        """Return the likeliest code of each level, given those before it, with its offset: [B, T, A] in [-1, 1]."""
        chosen = self.nade.choose(context.pooled_BD, lambda logits_BK, _: logits_BK.argmax(-1))
        return self._chunk(*chosen).clamp(-1, 1)

    def sample_from(self, context: Context, noise_BL: Tensor) -> Tensor:
        """Return the codes that the noise chooses, with their offset: [B, T, A] in [-1, 1]."""
        chosen = self.nade.choose(context.pooled_BD, lambda logits_BK, level: drawn(logits_BK, noise_BL[:, level]))
        return self._chunk(*chosen).clamp(-1, 1)

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Move codes and offsets with the scaling: the same actions, exactly. Offsets reach what is new."""
        slope_A, shift_A = line_of(slope_A, shift_A)
        slope_D, shift_D = slope_A.repeat(self._shape[0]), shift_A.repeat(self._shape[0])
        self.codes.mul_(slope_D)
        self.codes[0].add_(shift_D)
        self.offset.weight.mul_(slope_D[:, None])
        self.offset.bias.mul_(slope_D)

    def _nearest(self, actions_BTA: Tensor, is_pad_BT: Tensor) -> Tensor:
        """Return the codes, [B, L], that are nearest to the labelled steps: of each level to what the one before left over."""
        is_pad_BD = is_pad_BT.repeat_interleave(self._shape[1], 1)
        left_BD = actions_BTA.flatten(1).masked_fill(is_pad_BD, 0.0)
        found: list[Tensor] = []
        for codes_KD in self.codes:
            errors_BKD = (left_BD[:, None] - codes_KD).square().masked_fill(is_pad_BD[:, None], 0.0)
            found.append(errors_BKD.sum(-1).argmin(-1))
            left_BD = left_BD - codes_KD[found[-1]]
        return torch.stack(found, 1)

    def _chunk(self, codes_BL: Tensor, hidden_BH: Tensor) -> Tensor:
        """Return the chunk of the codes with the offset, [B, T, A]."""
        levels_L = torch.arange(self.noise_size, device=codes_BL.device)
        chunk_BD: Tensor = self.codes[levels_L, codes_BL].sum(1) + self.offset(hidden_BH).float()
        return chunk_BD.view(-1, *self._shape)


def _clusters(rows_RD: Array, num: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return k-means centres, [num, D], and the nearest one of each row, [R].

    Of fewer distinct rows than centres, each is a centre; the others repeat them and are nobody's.
    """
    from scipy.cluster.vq import kmeans2, vq

    distinct_RD = np.unique(rows_RD, axis=0)
    if len(distinct_RD) <= num:
        centres_KD: Array = distinct_RD[np.arange(num) % len(distinct_RD)]
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty")  # it keeps its centre
            centres_KD, _ = kmeans2(rows_RD, _far_apart(rows_RD, num, rng), iter=_ITERATIONS, minit="matrix")
    return centres_KD, vq(rows_RD, centres_KD)[0]


def _far_apart(rows_RD: Array, num: int, rng: np.random.Generator) -> Array:
    """Return distinct rows, [num, D], drawn in proportion to the squared distance from those before.

    It is k-means++ (Arthur and Vassilvitskii, 2007, section 2.2), which takes scipy 30 times as long as the rest of k-means.
    """
    chosen, distance_R = [int(rng.integers(len(rows_RD)))], np.full(len(rows_RD), np.inf)
    while len(chosen) < num:
        distance_R = np.minimum(distance_R, np.square(rows_RD - rows_RD[chosen[-1]]).sum(1, dtype=np.float64))
        chosen.append(int(rng.choice(len(rows_RD), p=distance_R / distance_R.sum())))
    return rows_RD[chosen]

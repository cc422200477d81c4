"""The mixture head: K squashed Gaussians, each over a whole chunk, with weights that depend on the context.

p(a_1 .. a_T) = sum_k w_k prod_t N(u_kt; mean_kt, std_kt) |du_t / da_t| with a = tanh(u): a mixture density network (Bishop,
"Pattern Recognition and Machine Learning", 2006, equations 5.148 to 5.153). One component is one way to act: all steps of a
chunk are of the same one. So the density of a step is that given the steps before it, which tell the ways apart.

Legend: B batch, K components, T action chunk, A action dimension, D context feature, N noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distil.heads.base import Context, DensityHead, HeadLoss
from distil.nn.choices import drawn
from distil.nn.losses import LABEL_LIMIT, pre_image, squashed_gaussian_log_prob
from distil.nn.mlp import linear
from distil.spaces import Leaf


class MixtureHead(DensityHead):
    """A density on (-1, 1)^(T A) with several modes; its dimensions are independent given the component."""

    noise_kind = "normal"

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        num_components: int,
        min_log_std: float,
        max_log_std: float,
    ) -> None:
        super().__init__()
        self._shape = (num_components, chunk, math.prod(action.shape))
        self._limits = (min_log_std, max_log_std)
        self.noise_size = math.prod(self._shape[1:]) + 1  # the last number chooses the component
        self.linear = linear(context_dim, num_components * (1 + 2 * math.prod(self._shape[1:])), generator)

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return minus the log density of each step given the labelled ones before it, in nats: [B, T].

        Labels are first moved inside +-0.999.
        """
        actions_BTA = actions_BTA.clamp(-LABEL_LIMIT, LABEL_LIMIT)
        return HeadLoss(loss_BT=-self._given_earlier(context, actions_BTA, is_pad_BT))

    def log_prob(self, context: Context, actions_BTA: Tensor) -> Tensor:
        """Return the log density of each step's action given those before it in the chunk, [B, T]: their sum is the chunk's."""
        return self._given_earlier(context, actions_BTA, None)

    def _given_earlier(self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor | None) -> Tensor:
        """Return log p(a_t | a_1 .. a_t-1), without the steps that are pads: the differences of log p(a_1 .. a_t)."""
        log_weight_BK, mean_BKTA, log_std_BKTA = self.components(context)
        num = self._shape[0]
        u_BTA = pre_image(actions_BTA)
        each_BKT = squashed_gaussian_log_prob(
            mean_BKTA.flatten(0, 1), log_std_BKTA.flatten(0, 1), u_BTA.repeat_interleave(num, 0)
        ).view(-1, num, self._shape[1])
        if is_pad_BT is not None:
            each_BKT = each_BKT.masked_fill(is_pad_BT[:, None], 0.0)
        so_far_BT = torch.logsumexp(log_weight_BK[..., None] + each_BKT.cumsum(-1), 1)
        return so_far_BT - torch.nn.functional.pad(so_far_BT[:, :-1], (1, 0))

    def point(self, context: Context) -> Tensor:
        """Return tanh(mean) of the component with the largest weight: [B, T, A] in [-1, 1]."""
        log_weight_BK, mean_BKTA, _ = self.components(context)
        return _chosen(mean_BKTA, log_weight_BK.argmax(-1)).tanh()

    def sample_from(self, context: Context, noise_BN: Tensor) -> Tensor:
        """Return a sample of the component that the last number chooses, [B, T, A]."""
        log_weight_BK, mean_BKTA, log_std_BKTA = self.components(context)
        choice_B = drawn(log_weight_BK, torch.special.ndtr(noise_BN[:, -1]))
        noise_BTA = noise_BN[:, :-1].view(-1, *self._shape[1:])
        return (_chosen(mean_BKTA, choice_B) + _chosen(log_std_BKTA, choice_B).exp() * noise_BTA).tanh()

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Let each component's mean of u become `slope * mean + shift`; the deviations stay, as those of `GaussianHead`."""
        num, repeats = self._shape[0], math.prod(self._shape[:2])
        slope_N, shift_N = slope_A.repeat(repeats), shift_A.repeat(repeats)
        means = slice(num, num + len(slope_N))
        self.linear.weight[means].mul_(slope_N[:, None])
        self.linear.bias[means].mul_(slope_N).add_(shift_N)

    def components(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log weights, [B, K], and mean and log deviation before the squashing, both [B, K, T, A]."""
        out_BN: Tensor = self.linear(context.pooled_BD).float()
        num, size = self._shape[0], math.prod(self._shape)
        logits_BK, mean_BN, log_std_BN = out_BN.tensor_split([num, num + size], -1)
        log_std_BN = log_std_BN.clamp(*self._limits)
        return logits_BK.log_softmax(-1), mean_BN.reshape(-1, *self._shape), log_std_BN.reshape(-1, *self._shape)


def _chosen(values_BKTA: Tensor, choice_B: Tensor) -> Tensor:
    """Return the values of one component a row, [B, T, A]."""
    index_B1TA = choice_B[:, None, None, None].expand(-1, 1, *values_BKTA.shape[2:])
    return values_BKTA.gather(1, index_B1TA).squeeze(1)

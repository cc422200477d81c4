"""The squashed Gaussian head: a = tanh(u), u ~ N(mean(context), std(context)), with the exact density of a.

Haarnoja et al. 2018, "Soft Actor-Critic", appendix C, equation 21:
log p(a) = log N(u; mean, std) - sum_i log(1 - tanh(u_i)^2).

Legend: B batch, T action chunk, A action dimension, D context feature, K noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distil.heads.base import Context, DensityHead, HeadLoss
from distil.nn.losses import LABEL_LIMIT, drawn_log_prob, pre_image, squashed_gaussian_log_prob
from distil.nn.mlp import linear
from distil.spaces import Leaf


class GaussianHead(DensityHead):
    """A density on (-1, 1)^A, independent over steps and dimensions given the context."""

    noise_kind = "normal"

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        min_log_std: float,
        max_log_std: float,
    ) -> None:
        super().__init__()
        self._shape = (chunk, math.prod(action.shape))
        self._limits = (min_log_std, max_log_std)
        self.noise_size = math.prod(self._shape)
        self.linear = linear(context_dim, 2 * self.noise_size, generator)

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the negative log-likelihood in nats, [B, T]; labels are first moved inside +-0.999."""
        return HeadLoss(loss_BT=-self.log_prob(context, actions_BTA.clamp(-LABEL_LIMIT, LABEL_LIMIT)))

    def log_prob(self, context: Context, actions_BTA: Tensor) -> Tensor:
        """Return the log density of `actions_BTA` in (-1, 1), summed over A: [B, T]."""
        mean_BTA, log_std_BTA = self.moments(context)
        u_BTA = pre_image(actions_BTA)
        return squashed_gaussian_log_prob(mean_BTA, log_std_BTA, u_BTA)

    def point(self, context: Context) -> Tensor:
        """Return tanh(mean), the median of each dimension: [B, T, A] in [-1, 1]."""
        return self.moments(context)[0].tanh()

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Let the mean of u become `slope * mean + shift`.

        The deviation stays: a smaller one could lie beyond the head's limit, where it has no gradient.
        """
        slope_TA, shift_TA = slope_A.repeat(self._shape[0]), shift_A.repeat(self._shape[0])
        num = self.noise_size
        self.linear.weight[:num].mul_(slope_TA[:, None])
        self.linear.bias[:num].mul_(slope_TA).add_(shift_TA)

    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return tanh(mean + std * noise), [B, T, A]."""
        mean_BTA, log_std_BTA = self.moments(context)
        return (mean_BTA + log_std_BTA.exp() * noise_BK.view(-1, *self._shape)).tanh()

    def draw(self, context: Context, noise_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sample that the noise leads to, [B, T, A], and its log density, [B, T].

        Gradients flow through both (the reparametrisation trick: Haarnoja et al., 2018, equation 9). The density is that of
        `log_prob`, from the value before the squashing: exact also where tanh rounds to 1.
        """
        mean_BTA, log_std_BTA = self.moments(context)
        noise_BTA = noise_BK.view(-1, *self._shape)
        u_BTA = torch.addcmul(mean_BTA, log_std_BTA.exp(), noise_BTA)
        return u_BTA.tanh(), drawn_log_prob(noise_BTA, log_std_BTA, u_BTA)

    def entropy(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return an estimate from one sample a row, [B, T], whose gradient is unbiased."""
        return -self.draw(context, noise_BK)[1]

    def moments(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return mean and log deviation before the squashing, both [B, T, A]."""
        out_BN: Tensor = self.linear(context.pooled_BD).float()
        mean_BN, log_std_BN = out_BN.tensor_split(2, -1)
        return mean_BN.reshape(-1, *self._shape), log_std_BN.clamp(*self._limits).reshape(-1, *self._shape)

"""The latent head: a conditional variational autoencoder of chunks, as in ACT.

Zhao et al., 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", arXiv:2304.13705, algorithms 1 and 2;
Sohn et al., 2015, "Learning Structured Output Representation using Deep Conditional Generative Models", equation 4; Kingma and
Welling, 2014, arXiv:1312.6114. In training, a posterior sees the label and tells the decoder which way it goes, in random
numbers z; the price is their divergence from the prior. To act, z is drawn from the prior.

Legend: B batch, T action chunk, A action dimension, D context feature, Z random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distil.heads.base import Context, HeadLoss
from distil.heads.iterative import IterativeHead
from distil.heads.samplers import Once
from distil.nn.chunks_config import ChunkNetworkConfig
from distil.nn.losses import absolute_error
from distil.nn.mlp import Mlp, linear
from distil.nn.rows import normal
from distil.spaces import Leaf

_WIDEST = 6.0  # log standard deviations of the posterior are kept in +-this


class LatentHead(IterativeHead):
    """A decoder p(chunk | context, z) with z ~ N(0, 1), and a posterior q(z | chunk, context) to train it with.

    With the absolute error, the decoder switches from one way to another where the squared error passes through their mean: of
    two ways 24 deviations apart, 5 % of the samples were between them after 800 steps with a `kl_weight` of 0.1, and 12 % with
    the squared error. A lower weight leaves z where no label was (0.025: 9 %, 0.005: 26 %); four times the size of z changes
    nothing. On Avoiding, with chunks of 16, success was .67 with 0.006, .88 with 0.016, .95 with 0.03, and .98 with 0.05.
    """

    needs_labels = False  # it isn't noise on the actions that it starts from

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        network: ChunkNetworkConfig,
        latent_dim: int,
        kl_weight: float,
        posterior: Sequence[int],
    ) -> None:
        super().__init__(action, context_dim, chunk, generator, network=network, sampler=Once(), num_in=latent_dim)
        self.noise_size, self._kl_weight = latent_dim, kl_weight
        self.posterior = Mlp(chunk * self._shape[1] + chunk + context_dim, posterior, "relu", generator)
        self.moments = linear(self.posterior.num_out, 2 * latent_dim, generator)

    def fit_labels(self, chunks_RTA: Tensor, seed: int) -> None:
        """Do nothing: `kl_weight` is an error in halves of the actions' range."""

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the absolute error, mean over the action's dimensions, and `kl_weight` times the divergence: [B, T].

        Their mean over the n labelled numbers of the chunk is minus the evidence lower bound of Sohn et al., equation 4, times
        `kl_weight` and up to a constant, for a Laplace distribution of scale n * `kl_weight`.
        """
        actions_BTA = self.own(actions_BTA, is_pad_BT)
        mean_BZ, log_std_BZ = self._guess(context, actions_BTA, is_pad_BT)
        noise_BZ = normal(mean_BZ.shape, generator, mean_BZ.device)
        z_BZ = mean_BZ + log_std_BZ.exp() * noise_BZ
        error_BT = absolute_error(self.call(context, self._repeated(z_BZ)), actions_BTA)
        # Kingma and Welling, appendix B
        kl_B = (0.5 * (mean_BZ.square() + (2 * log_std_BZ).exp() - 1) - log_std_BZ).sum(-1)
        loss_BT = error_BT + self._kl_weight * kl_B[:, None]
        return HeadLoss(loss_BT=loss_BT, extras={"reconstruction": error_BT, "kl": kl_B[:, None].expand_as(error_BT)})

    def point(self, context: Context) -> Tensor:
        """Return the chunk of z = 0, as ACT acts: [B, T, A] in [-1, 1]. Between two ways, z = 0 may be neither."""
        return self.sample_from(context, context.pooled_BD.new_zeros(len(context.pooled_BD), self.noise_size))

    def sample_from(self, context: Context, noise_BZ: Tensor) -> Tensor:
        """Return the chunk of z, [B, T, A] in [-1, 1]."""
        return self._sampled(context, self._repeated(noise_BZ))

    def _guess(self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log deviation of z given labels, both [B, Z]."""
        seen = torch.cat([actions_BTA.flatten(1), is_pad_BT.float(), context.pooled_BD], -1)
        mean_BZ, log_std_BZ = self.moments(self.posterior(seen)).float().chunk(2, -1)
        return mean_BZ, log_std_BZ.clamp(-_WIDEST, _WIDEST)

    def _repeated(self, z_BZ: Tensor) -> Tensor:
        """Return z at each step of a chunk, [B, T, Z]."""
        return z_BZ[:, None].expand(-1, self._shape[0], -1)

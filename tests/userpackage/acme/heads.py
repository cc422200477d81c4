"""A head: actions bounded by a clip, trained by the Huber distance, which outliers pull less than the squared one."""

import math

import torch
from torch import nn

from distil.heads.base import Head, HeadLoss


class Huber(Head):
    """One action a state. Its samples add normal noise of the deviation `noise`."""

    noise_kind = "normal"

    def __init__(self, action, context_dim, chunk, delta=0.1, noise=0.1):
        super().__init__()
        self.shape = (chunk, math.prod(action.shape))
        self.noise_size, self.delta, self.noise = math.prod(self.shape), delta, noise
        self.linear = nn.Linear(context_dim, self.noise_size)

    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        """Return the loss of each step, [B, T], and the mean absolute error, to be shown as a metric."""
        error_BTA = self.raw(context) - actions_BTA
        loss_BTA = nn.functional.huber_loss(error_BTA, torch.zeros_like(error_BTA), reduction="none", delta=self.delta)
        return HeadLoss(loss_BT=loss_BTA.mean(-1), extras={"absolute": error_BTA.abs().mean(-1)})

    def raw(self, context):
        return self.linear(context.pooled_BD).view(-1, *self.shape)

    def point(self, context):
        """Return the action, [B, T, A] in [-1, 1]."""
        return self.raw(context).clamp(-1, 1)

    def sample_from(self, context, noise_BK):
        """Return the action that the noise leads to."""
        return (self.raw(context) + self.noise * noise_BK.view(-1, *self.shape)).clamp(-1, 1)

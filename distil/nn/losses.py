"""Losses as pure functions of tensors: objectives and heads are built from them. Each one first asserts ranks and shapes.

Legend: B batch, T action chunk, A action dimension (or factor), N choices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

LABEL_LIMIT = 0.999  # of labels for a squashed density: on the bound they would pull its mean towards infinity
_INSIDE = 1 - 1e-6  # float32 can still tell this from 1: the widest action whose pre-image is finite
_TINY = torch.finfo(torch.float32).tiny


def masked_mean(values_BT: Tensor, is_pad_BT: Tensor) -> Tensor:
    """Return the mean of each row over the steps that are no pads, [B]; 0 for a row of pads.

    Pads count in neither the numerator nor the denominator, whatever their values are, NaN included.
    """
    assert values_BT.ndim == 2, values_BT.shape
    assert values_BT.shape == is_pad_BT.shape, (values_BT.shape, is_pad_BT.shape)
    kept_BT = values_BT.masked_fill(is_pad_BT, 0.0)
    if kept_BT.shape[1] == 1:
        return kept_BT.squeeze(1)
    num_valid_B: Tensor = (~is_pad_BT).sum(1).clamp(min=1)
    return kept_BT.sum(1) / num_valid_B


def weighted_mean(values_B: Tensor, weights_B: Tensor | None, world_size: int = 1) -> Tensor:
    """Return this rank's part of sum(w * value) / sum(w) over the global batch, whose average over the ranks is that mean.

    0 where nothing weighs anything.

    Args:
        values_B: of this rank's slice of the global batch; all slices have the same size.
        weights_B: None: all ones.
        world_size: number of ranks; above 1, torch.distributed's process group must exist.
    """
    assert values_B.ndim == 1, values_B.shape
    if weights_B is None:
        return values_B.mean()
    assert values_B.shape == weights_B.shape, (values_B.shape, weights_B.shape)
    total = weights_B.sum()
    if world_size > 1:
        torch.distributed.all_reduce(total)
    return (values_B * weights_B).sum() * world_size / total.clamp_min(_TINY)


def squared_error(predicted_BTA: Tensor, actions_BTA: Tensor) -> Tensor:
    """Return the squared error of each step, mean over the action's dimensions: [B, T].

    Up to constants, the negative log-likelihood of a Gaussian of fixed variance (Bishop, 2006, equation 3.11).
    """
    _require_same(predicted_BTA, actions_BTA)
    return torch.nn.functional.mse_loss(predicted_BTA, actions_BTA, reduction="none").mean(-1)


def absolute_error(predicted_BTA: Tensor, actions_BTA: Tensor) -> Tensor:
    """Return the absolute error of each step, mean over the action's dimensions: [B, T]."""
    _require_same(predicted_BTA, actions_BTA)
    return torch.nn.functional.l1_loss(predicted_BTA, actions_BTA, reduction="none").mean(-1)


def categorical_log_prob(logits_BTAN: Tensor, choices_BTA: Tensor) -> Tensor:
    """Return the log probability of independent choices, summed over the factors: [B, T], in nats.

    log p(a) = sum_i (l_i[a_i] - log sum_n exp l_i[n]). Choices that a factor lacks have the logit -inf.

    Args:
        logits_BTAN: unnormalised log probabilities l of each choice of each factor.
        choices_BTA: int64, from 0 on.
    """
    assert logits_BTAN.ndim == 4, logits_BTAN.shape
    assert logits_BTAN.shape[:-1] == choices_BTA.shape, (logits_BTAN.shape, choices_BTA.shape)
    log_p_BTAN = logits_BTAN.log_softmax(-1)
    return log_p_BTAN.gather(-1, choices_BTA.unsqueeze(-1)).squeeze(-1).sum(-1)


def squashed_gaussian_log_prob(mean_BTA: Tensor, log_std_BTA: Tensor, u_BTA: Tensor) -> Tensor:
    """Return the log density of a = tanh(u), u ~ N(mean, std), summed over the action's dimensions: [B, T], in nats.

    log p(a) = log N(u; mean, std) - sum_i log(1 - tanh(u_i)^2) (Haarnoja et al., 2018, "Soft Actor-Critic", equation 21).

    Args:
        mean_BTA: of u.
        log_std_BTA: of u.
        u_BTA: the pre-image of the action, atanh(a).
    """
    _require_same(mean_BTA, log_std_BTA)
    _require_same(mean_BTA, u_BTA)
    z_BTA = (u_BTA - mean_BTA) * (-log_std_BTA).exp()
    normal_BTA = -0.5 * z_BTA.square() - log_std_BTA - 0.5 * math.log(2 * math.pi)
    # log(1 - tanh(u)^2), in the form that doesn't cancel for large |u|
    squash_BTA = 2 * (math.log(2) - u_BTA - softplus(-2 * u_BTA))
    return (normal_BTA - squash_BTA).sum(-1)


def pre_image(actions_BTA: Tensor) -> Tensor:
    """Return u = atanh(a) of actions in [-1, 1], finite also on the bounds."""
    return actions_BTA.clamp(-_INSIDE, _INSIDE).atanh()


def drawn_log_prob(noise_BTA: Tensor, log_std_BTA: Tensor, u_BTA: Tensor) -> Tensor:
    """Return `squashed_gaussian_log_prob` of u = mean + std * noise, [B, T]: fewer operations, since (u - mean) / std is known.

    With it, log p(a) = sum_i 2 (u_i + softplus(-2 u_i)) - log std_i - noise_i^2 / 2 - log(4 sqrt(2 pi)).

    Args:
        noise_BTA: standard normal.
        log_std_BTA: of u.
        u_BTA: the pre-image of the action.
    """
    _require_same(noise_BTA, log_std_BTA)
    _require_same(noise_BTA, u_BTA)
    squash_BTA = u_BTA + softplus(-2 * u_BTA)
    rest_BTA = torch.add(log_std_BTA, noise_BTA.square(), alpha=0.5)
    constant = u_BTA.shape[-1] * math.log(4 * math.sqrt(2 * math.pi))
    return torch.sub(2 * squash_BTA, rest_BTA).sum(-1) - constant


def _require_same(a_BTA: Tensor, b_BTA: Tensor) -> None:
    assert a_BTA.ndim == 3, a_BTA.shape
    assert a_BTA.shape == b_BTA.shape, (a_BTA.shape, b_BTA.shape)

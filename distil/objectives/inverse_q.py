"""Losses that learn a Q-function from demonstrations without a reward model: IQ-Learn and LS-IQ.

Both see the reward in the Q-function: r(s, a) = Q(s, a) - discount * V(s'). IQ-Learn (Garg et al., 2021, equation 10, with the
chi^2 regulariser of section 5.2) raises it for the expert; LS-IQ (Al-Hafez et al., 2023, equation 13 and section 3.3) regresses
Q on the targets that such rewards of +-1/c have, which are bounded, so they are clipped.

In both, the absorbing state after the task's end is worth +-1/c for ever: the reward that the regulariser allows where only the
expert, or only the learner, ever is (LS-IQ, section 3.4). With 0 in its place, a task whose values are negative is best ended.

Legend: B batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distil.objectives.rl_config import InverseConfig
from distil.objectives.transitions import Transitions


def inverse_loss(
    config: InverseConfig, value_B: Tensor, now_B: Tensor, next_B: Tensor, transitions: Transitions, discount: float
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the loss of a batch of demonstrations and the learner's own steps, and figures to report.

    Args:
        config: which loss, and its regulariser.
        value_B: Q(s, a), with gradients.
        now_B: V(s), with gradients.
        next_B: V(s'), not yet that of the absorbing state: by the target, without gradients.
        transitions: the batch.
        discount: of the return.
    """
    ended, expert = transitions.terminated_B, transitions.is_expert_B
    limit = 1 / (config.regulariser * (1 - discount))
    next_B = torch.where(ended, torch.where(expert, limit, -limit), next_B)
    if config.loss == "iq":
        reward_B = value_B - discount * next_B
        gain = _mean(reward_B, expert)
        value = (now_B - discount * next_B).mean()
        loss = value - gain + config.regulariser * reward_B.square().mean()
    else:
        target_B = torch.where(expert, 1.0, -1.0) / config.regulariser + discount * next_B.clamp(-limit, limit)
        errors_B = (value_B - target_B.clamp(-limit, limit)).square()
        loss = 0.5 * (_mean(errors_B, expert) + _mean(errors_B, ~expert))
        reward_B = value_B - discount * next_B
    with torch.no_grad():
        figures = {"reward_expert": _mean(reward_B, expert), "reward_agent": _mean(reward_B, ~expert)}
    return loss, figures


def _mean(values_B: Tensor, chosen_B: Tensor) -> Tensor:
    return (values_B * chosen_B).sum() / chosen_B.sum().clamp(min=1)

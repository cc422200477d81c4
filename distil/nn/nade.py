"""A density of D choices of N, each given those before it, and a context: the neural autoregressive distribution estimator.

Uria et al., 2016, "Neural Autoregressive Distribution Estimation", JMLR 17(205), equations 1 to 3, with choices of N instead of
bits (a softmax for the sigmoid), rectifiers, and a bias c that depends on the context:

    hidden_d = relu(c(context) + sum_{m<d} W_m[choice_m]),   logits_d = V_d hidden_d + b_d

Training sees all d at once (a cumulative sum); a sample takes D small steps.

Legend: B batch, D choices, N options of each, F context feature, H hidden unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from distil.nn.mlp import linear

Pick = Callable[[Tensor, int], Tensor]  # (logits [B, N], d) -> choices [B]


class Nade(nn.Module):
    """The network. It starts with choices that are independent of each other.

    Args:
        num_in: features of the context.
        num_choices: D.
        num_options: N.
        hidden: H.
        generator: of the start weights.
    """

    def __init__(self, num_in: int, num_choices: int, num_options: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear(num_in, hidden, generator)
        shape, bound = (num_choices, num_options, hidden), 1 / math.sqrt(hidden)
        self.embedding = nn.Parameter(torch.zeros(shape))  # W; a last choice has no one to tell
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))  # V
        self.bias = nn.Parameter(torch.empty(shape[:2]).uniform_(-bound, bound, generator=generator))

    def hidden(self, x_BF: Tensor, choices_BD: Tensor, is_missing_BD: Tensor | None = None) -> Tensor:
        """Return the hidden units before each choice and after the last, [B, D + 1, H].

        Args:
            x_BF: the context.
            choices_BD: int64, from 0 on.
            is_missing_BD: bool, which of them later ones shall not know.
        """
        num, options, _ = self.embedding.shape
        rows_BD = choices_BD + options * torch.arange(num, device=choices_BD.device)
        told_BDH = nn.functional.embedding(rows_BD, self.embedding.flatten(0, 1))
        if is_missing_BD is not None:
            told_BDH = told_BDH.masked_fill(is_missing_BD[..., None], 0.0)
        before_BDH = nn.functional.pad(told_BDH.cumsum(1), (0, 0, 1, 0))
        hidden: Tensor = torch.relu(self.linear(x_BF)[:, None] + before_BDH)
        return hidden

    def logits(self, hidden_BDH: Tensor) -> Tensor:
        """Return the unnormalised log probabilities [B, D, N] of `hidden`, whose last units are left out."""
        out_BDN: Tensor = torch.einsum("bdh,dnh->bdn", hidden_BDH[:, : len(self.weight)], self.weight).float() + self.bias
        return out_BDN

    def choose(self, x_BF: Tensor, pick: Pick) -> tuple[Tensor, Tensor]:
        """Return the choices that `pick` makes one after another, [B, D] int64, and the hidden units after the last, [B, H]."""
        sum_BH: Tensor = self.linear(x_BF)
        choices: list[Tensor] = []
        for d in range(len(self.weight)):
            choices.append(pick(nn.functional.linear(sum_BH.relu(), self.weight[d], self.bias[d]), d))
            sum_BH = sum_BH + self.embedding[d][choices[-1]]
        return torch.stack(choices, 1), sum_BH.relu()

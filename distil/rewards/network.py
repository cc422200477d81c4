"""The network that learned rewards share: a small perceptron on state, action and the mark of the absorbing state.

Legend: B batch, F standardised features, A action, D input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from distil.nn.mlp import Mlp, linear
from distil.rewards.base import Steps

Input = Literal["state", "state_action", "transition"]


class StepNetwork(nn.Module):
    """One number a step, [B]. In the absorbing state, all inputs but its mark are 0.

    Args:
        num_features: F.
        num_action: A.
        sees: the state; with the action; or with the action and the next state.
        hidden: width of each layer.
        spectral: divide each weight by its largest singular value (Miyato et al., 2018).
        generator: of the start weights.
    """

    def __init__(
        self,
        num_features: int,
        num_action: int,
        *,
        sees: Input,
        hidden: Sequence[int],
        spectral: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._sees = sees
        self.num_in = num_features + {"state": 0, "state_action": num_action, "transition": num_action + num_features}[sees] + 1
        self.mlp = Mlp(self.num_in, hidden, "tanh", generator)
        self.last = linear(self.mlp.num_out, 1, generator)
        if spectral:
            for module in list(self.modules()):
                if isinstance(module, nn.Linear):
                    spectral_norm(module)

    def inputs(self, steps: Steps) -> Tensor:
        """Return the input of steps, [B, D]; the mark is 0."""
        parts = [steps.features_BF]
        if self._sees != "state":
            parts.append(steps.actions_BA)
        if self._sees == "transition":
            parts.append(steps.next_features_BF)
        parts.append(torch.zeros_like(steps.features_BF[:, :1]))
        return torch.cat(parts, -1)

    def absorbing(self) -> Tensor:
        """Return the input of the absorbing state, [1, D]."""
        x_1D: Tensor = self.last.weight.new_zeros(1, self.num_in)
        x_1D[:, -1] = 1
        return x_1D

    def forward(self, x_BD: Tensor) -> Tensor:
        """Return the numbers, [B]."""
        out: Tensor = self.last(self.mlp(x_BD))
        return out.squeeze(-1)


def gradient_penalty(network: StepNetwork, expert_BD: Tensor, agent_BD: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean of (|gradient of the network| - 1)^2 between the two batches (Gulrajani et al., 2017, equation 3)."""
    num = min(len(expert_BD), len(agent_BD))
    mix_B1 = torch.rand(num, 1, generator=generator, device=expert_BD.device)
    between_BD = (mix_B1 * expert_BD[:num] + (1 - mix_B1) * agent_BD[:num]).requires_grad_()
    (gradient_BD,) = torch.autograd.grad(network(between_BD).sum(), between_BD, create_graph=True)
    norm_B: Tensor = torch.linalg.vector_norm(gradient_BD, dim=-1)
    return (norm_B - 1).square().mean()


def weighted(values_B: Tensor, absorbing: Tensor, terminated_B: Tensor, discount: float) -> Tensor:
    """Return the mean over steps and over the steps in the absorbing state that follow them.

    A task that ended leaves discount + discount^2 + ... = discount / (1 - discount) of a step's weight in that state.

    Args:
        values_B: of the steps.
        absorbing: scalar, of a step in the absorbing state.
        terminated_B: which steps ended the task.
        discount: below 1.
    """
    rest = terminated_B.sum() * discount / (1 - discount)
    return (values_B.sum() + rest * absorbing) / (len(values_B) + rest)

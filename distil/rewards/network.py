"""The network that learned rewards share: a small perceptron on state, action and a mark, and what their losses share.

The mark is set in the absorbing state (`ends: absorbing`), or at a step that ended the task (`ends: done`).

Legend: B batch, F standardised features, A action, D input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from distil.errors import RunError
from distil.nn.mlp import Mlp, linear
from distil.rewards.base import Steps

Input = Literal["state", "state_action", "transition"]
Ends = Literal["absorbing", "done", "ignore"]
MARK = 5.0  # standardised states are about that far apart: with a limited slope, a smaller mark would hide an end among them


class StepNetwork(nn.Module):
    """One number a step, [B]. In the absorbing state, all inputs but its mark are 0.

    Args:
        num_features: F.
        num_action: A.
        sees: the state; with the action; or with the action and the next state.
        hidden: width of each layer.
        spectral: divide each weight by its largest singular value (Miyato et al., 2018).
        generator: of the start weights.
        dropout: share of the hidden units that a loss leaves out.
        ends: what the mark says.
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
        dropout: float = 0.0,
        ends: Ends = "absorbing",
    ) -> None:
        super().__init__()
        self._sees, self._dropout, self._ends = sees, dropout, ends
        self.num_in = num_features + {"state": 0, "state_action": num_action, "transition": num_action + num_features}[sees] + 1
        self.mlp = Mlp(self.num_in, hidden, "tanh", generator)
        self.last = linear(self.mlp.num_out, 1, generator)
        if spectral:
            _normalise(self, generator)

    def inputs(self, steps: Steps) -> Tensor:
        """Return the input of steps, [B, D]."""
        parts = [steps.features_BF]
        if self._sees != "state":
            parts.append(steps.actions_BA)
        if self._sees == "transition":
            parts.append(steps.next_features_BF)
        mark_B1 = (
            MARK * steps.terminated_B[:, None].float() if self._ends == "done" else torch.zeros_like(steps.features_BF[:, :1])
        )
        return torch.cat([*parts, mark_B1], -1)

    def absorbing(self) -> Tensor:
        """Return the input of the absorbing state, [1, D]."""
        x_1D: Tensor = self.last.weight.new_zeros(1, self.num_in)
        x_1D[:, -1] = MARK
        return x_1D

    def forward(self, x_BD: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the numbers, [B]; with a generator, of a network with dropout."""
        hidden_BD = self.mlp(x_BD)
        if self._dropout and generator is not None:
            kept_BD = torch.rand(hidden_BD.shape, generator=generator, device=hidden_BD.device) >= self._dropout
            hidden_BD = hidden_BD * kept_BD / (1 - self._dropout)
        out: Tensor = self.last(hidden_BD)
        return out.squeeze(-1)

    def judge(
        self, expert: Steps, agent: Steps, generator: torch.Generator, *, penalty: float, discount: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the numbers of the expert's and the learner's steps, that of the absorbing state, and the penalty's loss.

        Raises:
            RunError: a step of the learner ended the task, and nothing is to be made of that.
        """
        if self._ends == "ignore" and bool(agent.terminated_B.any()):
            raise RunError(
                "the task ended in a step of the learner, and with algorithm.reward.ends=ignore the reward pays for an early "
                "end or for none, whatever the expert does; set algorithm.reward.ends=absorbing (or done)"
            )
        expert_BD, agent_BD = self.inputs(expert), self.inputs(agent)
        rows = torch.cat([expert_BD, agent_BD, self.absorbing()])
        expert_B, agent_B, absorbing = self(rows, generator).split([len(expert_BD), len(agent_BD), 1])
        loss = expert_B.new_zeros(())
        if penalty:
            both = [(expert_BD, expert.terminated_B), (agent_BD, agent.terminated_B)]
            expert_BD, agent_BD = (self._with_absorbing(x_BD, ended_B, generator, discount) for x_BD, ended_B in both)
            loss = penalty * gradient_penalty(self, expert_BD, agent_BD, generator)
        return expert_B, agent_B, absorbing[0], loss

    def _with_absorbing(self, x_BD: Tensor, ended_B: Tensor, generator: torch.Generator, discount: float) -> Tensor:
        """Return rows of which the share that `weighted` gives the absorbing state is that state, so its slope is limited."""
        share = 1 - weighted(torch.ones_like(ended_B, dtype=x_BD.dtype), x_BD.new_zeros(()), ended_B, self.rest(discount))
        is_absorbing_B1 = torch.rand(len(x_BD), 1, generator=generator, device=x_BD.device) < share
        return torch.where(is_absorbing_B1, self.absorbing(), x_BD)

    def rest(self, discount: float) -> float:
        """Return the discount of the steps that follow an end: 0 where there is no absorbing state."""
        return discount if self._ends == "absorbing" else 0.0

    def after_end(self, absorbing: Tensor) -> Tensor:
        """Return the reward in the absorbing state from the network's: 0 where there is no such state."""
        return absorbing if self._ends == "absorbing" else torch.zeros_like(absorbing)


def _normalise(network: nn.Module, generator: torch.Generator) -> None:
    """Add spectral normalisation to all linear layers, whose power iterations start from `generator`."""
    for module in [module for module in network.modules() if isinstance(module, nn.Linear)]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            spectral_norm(module)


def gradient_penalty(network: nn.Module, expert_BD: Tensor, agent_BD: Tensor, generator: torch.Generator) -> Tensor:
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
        discount: below 1; 0: there is no such state.
    """
    rest = terminated_B.sum() * discount / (1 - discount)
    return (values_B.sum() + rest * absorbing) / (len(values_B) + rest)

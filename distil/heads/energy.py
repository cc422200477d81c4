"""The energy head: a perceptron on state and chunk whose output is low where demonstrations act.

Implicit behavioural cloning (Florence et al., 2021, "Implicit Behavioral Cloning", arXiv:2109.00137). It learns to tell the
label from counter-examples (InfoNCE, their section 2; van den Oord et al., 2018, arXiv:1807.03748, equation 4), and acts by a
search without derivatives (their algorithm 1). The energy is no density: its level is arbitrary in each state.

Counter-examples are uniform over the chunks. Those of a chunk of many numbers are all far from the label, so that little is
learned of what lies close to it. Two modes of width 0.05, 0.6 away from the centre, 64 counter-examples: 1 % of samples are in
no mode with chunks of 1 or 2 numbers, 10 to 20 % with 4, and nearly all with 8.

Legend: B batch, N chunks that are compared, T action chunk, A action dimension, M = T A, D context feature, W width, I rounds
of a search, K noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distil.heads.base import Context, Head, HeadLoss, line_of
from distil.nn.choices import drawn
from distil.nn.mlp import Mlp, linear, seeded
from distil.nn.rows import uniform
from distil.spaces import Leaf

_REACH = 1.1  # of counter-examples and candidates: from both sides of an action on its bound
_SPREAD = 0.33  # standard deviation of the second round's candidates; that of each further one is half as wide
_EPSILON = 1e-6  # of uniform noise, so that normal noise is finite


class EnergyHead(Head):
    """An energy E(context, chunk), and a search for chunks of low energy."""

    noise_kind = "uniform"
    _points: Tensor

    def __init__(
        self,
        action: Leaf,
        context_dim: int,
        chunk: int,
        generator: torch.Generator,
        *,
        hidden: Sequence[int],
        num_negatives: int,
        num_candidates: int,
        num_iterations: int,
    ) -> None:
        super().__init__()
        self._shape = (chunk, math.prod(action.shape))
        self._num_negatives, self._num_iterations = num_negatives, num_iterations
        size = math.prod(self._shape)
        self.noise_size = num_iterations * (size + 1)
        self.of_context = linear(context_dim, hidden[0], generator)
        self.of_chunk = seeded(nn.Linear(size, hidden[0], bias=False, device="meta"), generator)
        self.rest = Mlp(hidden[0], hidden[1:], "relu", generator)
        self.out = seeded(nn.Linear(hidden[-1], 1, bias=False, device="meta"), generator)
        sobol = torch.quasirandom.SobolEngine(size, scramble=True, seed=0)  # type: ignore[no-untyped-call]
        points_NM = sobol.draw(num_candidates)
        self.register_buffer("_points", (points_NM - points_NM[0]) % 1, persistent=False)  # the first one is 0

    def loss(
        self, context: Context, actions_BTA: Tensor, is_pad_BT: Tensor, *, generator: torch.Generator | None = None
    ) -> HeadLoss:
        """Return the InfoNCE loss of the chunk in nats, the same at each of its steps: [B, T].

        -log(exp(-E(label)) / (exp(-E(label)) + sum_n exp(-E(negative_n)))). Steps without a label hold the same random actions
        in all chunks of a row, so that only the others tell the label apart.
        """
        shape = (len(actions_BTA), 1 + self._num_negatives, *self._shape)
        drawn_BNTA = (2 * uniform(shape, generator, actions_BTA.device) - 1) * _REACH
        chunks_BNTA = torch.cat([actions_BTA[:, None], drawn_BNTA[:, 1:]], 1)
        chunks_BNTA = torch.where(is_pad_BT[:, None, :, None], drawn_BNTA[:, :1], chunks_BNTA)
        energy_BN = self.energy(context, chunks_BNTA)
        loss_B = energy_BN[:, 0] + torch.logsumexp(-energy_BN, 1)
        return HeadLoss(loss_BT=loss_B[:, None].expand(-1, self._shape[0]))

    def energy(self, context: Context, chunks_BNTA: Tensor) -> Tensor:
        """Return E of several chunks a context, [B, N]; only differences within a row mean something."""
        return self._energy(self.of_context(context.pooled_BD), chunks_BNTA.flatten(2))

    def point(self, context: Context) -> Tensor:
        """Return the chunk of low energy that the search finds with fixed candidates, always the best of them: [B, T, A]."""
        middle = context.pooled_BD.new_full((len(context.pooled_BD), self._num_iterations, math.prod(self._shape)), 0.5)
        return self._search(context, middle, None)

    def sample_from(self, context: Context, noise_BK: Tensor) -> Tensor:
        """Return a chunk whose density is about exp(-E), normalised: [B, T, A] in [-1, 1].

        Of each round's candidates one is drawn, by its weight exp(-E), and the next ones lie around it. Algorithm 1 of the
        paper draws all next candidates by weight, which sharpens the density in each round: of two modes that hold .7 and .3,
        the heavier one gets .92 of the samples after three rounds, and .99 after five; here it gets .70.
        """
        noise_BIK = noise_BK.view(len(noise_BK), self._num_iterations, -1)
        return self._search(context, noise_BIK[..., :-1], noise_BIK[..., -1])

    def rescale(self, slope_A: Tensor, shift_A: Tensor) -> None:
        """Give each action the energy that it had, exactly."""
        slope_M, shift_M = (value.repeat(self._shape[0]) for value in line_of(slope_A, shift_A))
        self.of_chunk.weight.div_(slope_M)
        self.of_context.bias.sub_(self.of_chunk.weight @ shift_M)

    def _energy(self, context_BW: Tensor, chunks_BNM: Tensor) -> Tensor:
        """Return E, [B, N]: the context's part of the first layer is computed once a row, not once a chunk."""
        hidden_BNW = torch.relu(context_BW[:, None] + self.of_chunk(chunks_BNM))
        energy_BN1: Tensor = self.out(self.rest(hidden_BNW))
        return energy_BN1.squeeze(-1).float()

    def _search(self, context: Context, shifts_BIM: Tensor, chances_BI: Tensor | None) -> Tensor:
        """Return the chosen chunk, [B, T, A].

        Args:
            context: B rows.
            shifts_BIM: uniform in [0, 1). Each round's candidates are the fixed points of low discrepancy, shifted by it modulo
                1 (Cranley and Patterson, 1976): each is uniform, and together they leave no gaps.
            chances_BI: uniform in [0, 1), they draw one of the candidates; None for the one of lowest energy.
        """
        context_BW = self.of_context(context.pooled_BD)
        chosen_BM = shifts_BIM[:, 0]
        for i in range(self._num_iterations):
            units_BNM = (self._points + shifts_BIM[:, i, None]) % 1
            if i == 0:
                candidates_BNM = (2 * units_BNM - 1) * _REACH
            else:
                normal_BNM = torch.special.ndtri(units_BNM.clamp(_EPSILON, 1 - _EPSILON))
                candidates_BNM = chosen_BM[:, None] + _SPREAD * 0.5 ** (i - 1) * normal_BNM
                candidates_BNM = candidates_BNM.clamp(-_REACH, _REACH)
            energy_BN = self._energy(context_BW, candidates_BNM)
            index_B = energy_BN.argmin(-1) if chances_BI is None else drawn(-energy_BN, chances_BI[:, i])
            chosen_BM = candidates_BNM.take_along_dim(index_B[:, None, None], 1).squeeze(1)
        return chosen_BM.view(-1, *self._shape).clamp(-1, 1)

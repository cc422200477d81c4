import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from distil.heads.base import Context
from distil.heads.energy import EnergyHead
from distil.heads.energy_config import EnergyConfig
from distil.spaces import action_spec

SMALL = {"hidden": (64, 32), "num_negatives": 32, "num_candidates": 64}


def _head(size: int = 1, chunk: int = 1, **settings: object) -> EnergyHead:
    leaf = action_spec(gym.spaces.Box(-1, 1, (size,))).leaf
    return EnergyConfig(**SMALL | settings).build(leaf, 2, chunk, generator=torch.Generator().manual_seed(0))


def _context(num: int) -> Context:
    return Context(pooled_BD=torch.ones(num, 2))


def _no_pads(num: int, chunk: int = 1) -> Tensor:
    return torch.zeros(num, chunk, dtype=torch.bool)


def _trained(head: EnergyHead, labels: Tensor, num_steps: int = 200) -> EnergyHead:
    """The head after it has learned batches of 64 of the labels [R, T, A]."""
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / num_steps)
        rows = torch.randint(len(labels), (64,), generator=generator)
        loss = head.loss(_context(64), labels[rows], _no_pads(64, labels.shape[1]), generator=generator).loss_BT.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.requires_grad_(False)


def test_both_answers_keep_their_shares_and_their_mean_is_not_given() -> None:
    """CORRECTNESS 25: also that the search doesn't favour the heavier one, as drawing all candidates by weight would."""
    generator = torch.Generator().manual_seed(2)
    side = torch.where(torch.rand(4000, 1, 1, generator=generator) < 0.7, 0.6, -0.6)
    head = _trained(_head(), side + 0.05 * torch.randn(4000, 1, 1, generator=generator))
    samples = head.sample(_context(1000), generator=generator).numpy().ravel()
    assert (abs(samples) < 0.4).mean() < 0.02
    assert (abs(samples) > 0.8).mean() < 0.03
    np.testing.assert_allclose((samples > 0).mean(), 0.7, atol=0.08)
    assert head.point(_context(1)).item() == pytest.approx(0.6, abs=0.05)


def test_labels_on_the_bound_are_recovered() -> None:
    """CORRECTNESS 27: the search reaches the bound, and counter-examples (see the loss) lie on both sides of it."""
    head = _trained(_head(), torch.ones(1, 1, 1), 100)
    assert head.point(_context(1)).item() > 0.98
    assert head.sample(_context(200), generator=torch.Generator().manual_seed(0)).mean() > 0.97


def test_the_loss_is_that_of_choosing_the_label_among_counter_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    head, labels = _head(2, 3), torch.rand(4, 3, 2)
    seen: list[Tensor] = []
    energy = EnergyHead._energy

    def watched(self: EnergyHead, context_BW: Tensor, chunks_BNM: Tensor) -> Tensor:
        seen.append(chunks_BNM)
        return energy(self, context_BW, chunks_BNM)

    monkeypatch.setattr(EnergyHead, "_energy", watched)
    found = head.loss(_context(4), labels, _no_pads(4, 3)).loss_BT
    chunks = seen[0].view(4, 33, 3, 2)
    torch.testing.assert_close(chunks[:, 0], labels)
    assert 1.05 < chunks[:, 1:].abs().max() < 1.1
    expected = -(-head.energy(_context(4), chunks)).log_softmax(1)[:, :1]
    torch.testing.assert_close(found, expected.expand(4, 3))


def test_steps_without_a_label_tell_nothing() -> None:
    """CORRECTNESS 6: they hold the same in the label's chunk as in the others, whatever they held."""
    head, is_pad = _head(2, 3), torch.tensor([[False, True, True]])
    losses = []
    for value in (-0.9, 0.9, float("nan")):
        labels = torch.tensor([[[0.1, 0.2], [value, value], [value, 0.0]]])
        losses.append(head.loss(_context(1), labels, is_pad, generator=torch.Generator().manual_seed(0)).loss_BT)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])
    all_pads = head.loss(_context(1), labels, is_pad | True).loss_BT
    torch.testing.assert_close(all_pads, torch.full((1, 3), float(np.log(33))))  # nothing to tell apart


def test_candidates_fill_the_space_whatever_the_noise_and_the_default_action_never_gets_worse() -> None:
    head = _head(2)
    context = _context(5)
    energies = []
    for rounds in (1, 2, 5):
        one = _head(2, num_iterations=rounds)
        one.load_state_dict(head.state_dict())
        energies.append(head.energy(context, one.point(context)[:, None]))
    assert (energies[0] >= energies[1]).all()
    assert (energies[1] >= energies[2]).all()
    single = _head(1, num_iterations=1, num_candidates=64)  # flat: each candidate is as likely
    torch.nn.init.zeros_(single.out.weight)
    noise = torch.tensor([[0.3, i / 64 + 1e-4] for i in range(64)])
    assert (single.sample_from(_context(64), noise).ravel().sort().values.diff() < 3 * 2.2 / 64).all()


def test_rescaling_keeps_the_energy_of_every_action() -> None:
    head = _head(2, 3)
    slope, shift = torch.tensor([0.5, 0.8]), torch.tensor([-0.1, 0.2])
    kept = torch.tensor([0.5, -0.5])  # the two actions whose place under tanh is kept
    moved = (kept.atanh()[:, None] * slope + shift).tanh()
    old = kept.view(1, 2, 1, 1).expand(1, 2, 3, 2)
    with torch.no_grad():
        before = head.energy(_context(1), old)
        head.rescale(slope, shift)
        torch.testing.assert_close(head.energy(_context(1), moved.view(1, 2, 1, 2).expand(1, 2, 3, 2)), before)

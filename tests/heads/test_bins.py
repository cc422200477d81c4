from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from densitybed import integral, ones, p_value_of_samples

from distil.heads.base import Context
from distil.heads.bins import BinsHead
from distil.heads.config import BinsConfig
from distil.spaces import action_spec

GENERATOR = torch.Generator()
QUANTILE = {"spacing": "quantile", "num_bins": 16}


def _head(labels: np.ndarray | None = None, *, size: int = 1, chunk: int = 1, told: float = 0.0, **settings: Any) -> BinsHead:
    """A head of random weights on one feature; `told` is the deviation of what choices tell later ones."""
    leaf = action_spec(gym.spaces.Box(-1, 1, (size,))).leaf
    head = BinsConfig(hidden=16, **settings).build(leaf, 1, chunk, generator=GENERATOR.manual_seed(0))
    with torch.no_grad():
        head.nade.embedding.normal_(0, told or 1e-9, generator=GENERATOR)
        head.nade.weight.mul_(2)
    if labels is not None:
        head.fit_labels(torch.from_numpy(labels.astype(np.float32)).reshape(-1, chunk, size), 0)
    return head


def _normal(scale: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0.2, scale, 4000)


@pytest.mark.parametrize("labels", [None, _normal(0.4)], ids=["uniform", "quantile"])
def test_log_prob_integrates_to_one_and_samples_match_it(labels: np.ndarray | None) -> None:
    """CORRECTNESS 24."""
    head = _head(labels, **(QUANTILE if labels is not None else {}))
    np.testing.assert_allclose(integral(head), 1, atol=5e-3)
    assert p_value_of_samples(head) > 0.01


def test_the_density_of_a_chunk_is_that_of_each_number_given_those_before_it() -> None:
    """CORRECTNESS 24: over all cells of a grid it adds up to 1, and samples visit them as often as it says."""
    head = _head(size=2, chunk=2, told=2.0, num_bins=3)
    grid = torch.cartesian_prod(*[torch.tensor([-0.7, 0.0, 0.7])] * 4).reshape(-1, 2, 2)
    mass = head.log_prob(ones(81), grid).sum(1).exp().detach() * (2 / 3) ** 4
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-5)
    samples = head.sample(ones(40_000), generator=GENERATOR.manual_seed(1)).detach().flatten(1)
    cells = (((samples + 1) * 1.5).long() * torch.tensor([27, 9, 3, 1])).sum(1).bincount(minlength=81) / 40_000
    np.testing.assert_allclose(cells, mass, atol=0.01)
    first = mass.reshape(9, 9).sum(1)
    np.testing.assert_allclose(head.log_prob(ones(81), grid)[::9, 0].exp().detach() * (2 / 3) ** 2, first, rtol=1e-4)
    assert not np.allclose(mass, torch.outer(first, mass.reshape(9, 9).sum(0)).flatten(), atol=0.02)  # steps see each other


def test_steps_without_a_label_tell_nothing() -> None:
    """CORRECTNESS 25: whatever they hold, in the middle of a chunk too."""
    head, is_pad = _head(chunk=3, told=1.0), torch.tensor([[False, True, False]])
    labels = [torch.tensor([[[-0.4], [value], [-0.7]]]) for value in (-0.9, 0.9, np.nan)]
    losses = [head.loss(ones(1), each, is_pad).loss_BT[~is_pad] for each in labels]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])
    told = [head.loss(ones(1), each, is_pad & False).loss_BT[0, 2] for each in labels[:2]]
    assert told[0] != told[1]


def test_the_default_action_is_the_likeliest_bin_s_middle_number_after_number() -> None:
    head = _head(size=2, chunk=2, told=2.0, num_bins=4)
    point = head.point(ones(1)).detach().flatten()
    for d in range(4):
        others = point.repeat(4, 1)
        others[:, d] = torch.tensor([-0.75, -0.25, 0.25, 0.75])
        hidden = head.nade.hidden(ones(4).pooled_BD, ((others + 1) * 2).long())
        assert others[head.nade.logits(hidden)[0, d].argmax(), d] == point[d]


def test_both_answers_are_learned_and_their_mean_is_not_given() -> None:
    """CORRECTNESS 25: a chunk of two steps goes one way."""
    head = _head(chunk=2)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.03)
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        side = torch.randint(2, (256, 1, 1), generator=generator) * 1.2 - 0.6
        labels = side + 0.05 * torch.randn(256, 2, 1, generator=generator)
        loss = head.loss(ones(256), labels, torch.zeros(256, 2, dtype=torch.bool)).loss_BT.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    samples = head.sample(ones(1000), generator=generator).detach().numpy().reshape(-1, 2)
    inside = (np.abs(samples) > 0.4) & (np.abs(samples) < 0.8)
    assert (inside.all(1) & (samples[:, 0] * samples[:, 1] > 0)).mean() > 0.95
    assert 0.35 < (samples[:, 0] > 0).mean() < 0.65
    point = head.point(ones(1)).detach().numpy().ravel()
    assert 0.4 < abs(point[0]) < 0.8
    assert abs(point[0] - point[1]) < 0.3


RNG = np.random.default_rng(0)
EDGES = {
    "continuous": _normal(0.05),
    "constant": np.full(100, 0.3),
    "one value": np.full(1, -0.2),
    "constant on the bound": np.full(100, -1.0),
    "bang-bang": RNG.choice([-1.0, 1.0], 500),
    "few values": RNG.choice([-1.0, -0.25, 0.0, 0.5, 0.9999, 1.0], 500),
    "mostly one value": np.where(RNG.random(500) < 0.8, 0.125, RNG.uniform(-1, 1, 500)),
    "out of range": np.linspace(-1.5, 2, 100),
}


@pytest.mark.parametrize("labels", EDGES.values(), ids=EDGES)
def test_quantile_edges_ascend_and_tell_repeated_values_apart(labels: np.ndarray) -> None:
    edges = _head(labels, **QUANTILE).edges.numpy()[0].astype(np.float64)
    assert (edges[0], edges[-1], len(edges)) == (-1, 1, 17)
    assert (np.diff(edges) > 5e-5).all()
    values, counts = np.unique(labels.astype(np.float32).clip(-1, 1), return_counts=True)
    for value in values[counts > len(labels) / 8]:
        at = np.clip(np.searchsorted(edges, value, side="right") - 1, 0, 15)
        assert abs((edges[at] + edges[at + 1]) / 2 - value) < 2e-4
    assert (np.diff(edges) <= 2 / 16 / 0.25 + 1e-3).all()  # everything can be reached, if coarsely


def test_quantile_bins_are_where_the_labels_are_in_each_dimension() -> None:
    """CORRECTNESS 34: a quarter of them lies evenly, for labels that come later."""
    rng = np.random.default_rng(0)
    labels = np.stack([rng.normal(-0.5, 0.01, 4000), rng.uniform(-1, 1, 4000)], -1)
    edges = _head(np.repeat(labels, 2, 0), size=2, chunk=2, **QUANTILE).edges
    assert ((edges > -0.53) & (edges < -0.47)).sum(1).tolist() == [13, 1]
    np.testing.assert_allclose(edges[1], torch.linspace(-1, 1, 17), atol=0.05)


def test_a_head_that_is_not_fitted_yet_holds_nan_and_uniform_bins_need_no_labels() -> None:
    head = _head(**QUANTILE)
    assert head.needs_labels
    assert head.edges.isnan().all()
    uniform = _head()
    assert not uniform.needs_labels
    uniform.fit_labels(torch.zeros(5, 1, 1), 0)
    torch.testing.assert_close(uniform.edges, torch.linspace(-1, 1, 33)[None])


@pytest.mark.parametrize("labels", [None, _normal(0.3)], ids=["uniform", "quantile"])
def test_rescaling_keeps_the_density_and_reaches_the_new_range(labels: np.ndarray | None) -> None:
    """CORRECTNESS 34: the old range becomes [-0.3, 0.5] of the new one."""
    head = _head(labels, num_bins=64, spacing="uniform" if labels is None else "quantile")
    with torch.no_grad():
        head.nade.weight.mul_(0.05)
        head.nade.bias[0].copy_(-(torch.linspace(-2, 2, 64) ** 2) * 3)
    grid = torch.linspace(-1, 1, 9)[1:-1].reshape(-1, 1, 1)

    def below(scale: float, shift: float) -> torch.Tensor:
        fine = torch.linspace(-0.9999, 0.9999, 8001)
        density = head.log_prob(ones(8001), fine.reshape(-1, 1, 1)).squeeze(-1).exp().detach()
        return torch.stack([density[fine < value * scale + shift].sum() for value in grid.flatten()]) * 2 / 8001

    before = below(1, 0)
    slope, shift = ((np.arctanh(0.3) + np.arctanh(0.1)) / 2 / np.arctanh(0.5), (np.arctanh(0.3) - np.arctanh(0.1)) / 2)
    with torch.no_grad():
        head.rescale(torch.tensor([slope]).float(), torch.tensor([shift]).float())
    np.testing.assert_allclose(below(0.4, 0.1), before, atol=0.08)
    edges = head.edges[0]
    assert (edges.diff() > 5e-5).all()
    assert (edges.diff() < 0.13).all()
    assert (edges[0], edges[-1]) == (-1, 1)


def test_context_changes_the_density() -> None:
    head = _head(chunk=2)
    actions = torch.tensor([[[0.3], [0.1]]])
    assert head.log_prob(Context(pooled_BD=-torch.ones(1, 1)), actions).sum() != head.log_prob(ones(1), actions).sum()


def test_a_low_temperature_draws_likely_bins_more_often_and_changes_no_density() -> None:
    plain, cool = _head(num_bins=4), _head(num_bins=4, temperature=0.25)
    for head in (plain, cool):
        with torch.no_grad():
            head.nade.weight.zero_()
            head.nade.bias.copy_(torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log())
    grid = torch.tensor([-0.7, -0.2, 0.2, 0.7]).reshape(-1, 1, 1)
    assert torch.equal(plain.log_prob(ones(4), grid), cool.log_prob(ones(4), grid))
    samples = cool.sample(ones(20_000), generator=GENERATOR.manual_seed(0)).detach().flatten()
    share = ((samples + 1) * 2).long().bincount(minlength=4) / 20_000
    expected = torch.tensor([0.4, 0.3, 0.2, 0.1]) ** 4
    np.testing.assert_allclose(share, expected / expected.sum(), atol=0.01)

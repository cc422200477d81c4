import gymnasium as gym
import numpy as np
import torch
from densitybed import integral, ones, p_value_of_samples
from scipy import stats

from distil.heads.base import Context
from distil.heads.config import MixtureConfig
from distil.heads.mixture import MixtureHead
from distil.spaces import action_spec

NO_PADS = torch.zeros(1, 1, dtype=torch.bool)


def _head(weights: list[float], means: list[list[float]], log_std: list[list[float]], chunk: int = 1) -> MixtureHead:
    """The mixture of these weights, with a mean and a log deviation of u for each number of a component's chunk."""
    leaf = action_spec(gym.spaces.Box(-1, 1, (len(means[0]) // chunk,))).leaf
    head = MixtureConfig(num_components=len(weights)).build(leaf, 1, chunk, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor(np.concatenate([np.log(weights), *means, *log_std])))
    return head


TWO = ([0.3, 0.7], [[-0.8], [0.9]], [[-1.5], [-0.7]])


def test_log_prob_integrates_to_one() -> None:
    """CORRECTNESS 24."""
    np.testing.assert_allclose(integral(_head(*TWO)), 1, atol=2e-3)


def test_samples_match_the_density() -> None:
    """CORRECTNESS 24."""
    assert p_value_of_samples(_head(*TWO)) > 0.01


def test_a_chunk_has_the_density_of_the_mixture_of_chunks() -> None:
    """The steps' densities add up to it, and a step that tells the ways apart makes the next one certain."""
    weights, means, log_std = [0.4, 0.6], [[-0.5, 0.1, -0.9], [0.6, -0.2, 0.8]], [[-2.0, -1.0, -2.0], [-2.5, -1.0, -2.0]]
    head = _head(weights, means, log_std, chunk=3)
    u = np.array([-0.45, 0.0, -0.8])
    parts = [
        np.log(weight) + stats.norm.logpdf(u, mean, np.exp(deviation)).sum()
        for weight, mean, deviation in zip(weights, means, log_std, strict=True)
    ]
    expected = np.logaddexp(*parts) - np.log1p(-(np.tanh(u) ** 2)).sum()
    steps = head.log_prob(ones(1), torch.tensor(np.tanh(u), dtype=torch.float32).reshape(1, 3, 1)).detach().numpy()
    np.testing.assert_allclose(steps.sum(), expected, rtol=1e-4)
    alone = stats.norm.logpdf(u[2], means[0][2], np.exp(log_std[0][2])) - np.log1p(-(np.tanh(u[2]) ** 2))
    np.testing.assert_allclose(steps[0, 2], alone, rtol=1e-3)  # of the first way: the second one is out of the question


def test_steps_without_a_label_tell_nothing() -> None:
    """CORRECTNESS 25: whatever they hold, in the middle of a chunk too."""
    head = _head([0.4, 0.6], [[-0.5, 0.1, -0.9], [0.6, -0.2, 0.8]], [[-1.0] * 3] * 2, chunk=3)
    is_pad = torch.tensor([[False, True, False]])
    losses = [head.loss(ones(1), torch.tensor([[[-0.4], [value], [-0.7]]]), is_pad).loss_BT[~is_pad] for value in (-0.9, 0.9)]
    assert torch.equal(*losses)
    shorter = _head([0.4, 0.6], [[-0.5, -0.9], [0.6, 0.8]], [[-1.0] * 2] * 2, chunk=2)
    pair = torch.tensor([[[-0.4], [-0.7]]])
    torch.testing.assert_close(shorter.loss(ones(1), pair, is_pad[:, :2] & False).loss_BT.squeeze(0), losses[0])


def test_a_sample_goes_one_way_through_the_chunk_and_the_default_action_is_the_heavier_one() -> None:
    head = _head([0.3, 0.7], [[-1.0, -1.0], [1.0, 1.0]], [[-4.0, -4.0]] * 2, chunk=2)
    samples = head.sample(ones(2000), generator=torch.Generator().manual_seed(0)).sign().squeeze(-1)
    assert torch.equal(samples[:, 0], samples[:, 1])
    np.testing.assert_allclose(float((samples[:, 0] < 0).float().mean()), 0.3, atol=0.04)
    np.testing.assert_allclose(head.point(ones(1)).detach().numpy().ravel(), np.tanh([1, 1]), rtol=1e-5)


def test_both_answers_are_learned_and_their_mean_is_not_given() -> None:
    leaf = action_spec(gym.spaces.Box(-1, 1, (1,))).leaf
    head = MixtureConfig().build(leaf, 2, 1, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.03)
    generator = torch.Generator().manual_seed(1)
    for _ in range(400):
        side = torch.randint(2, (256, 1, 1), generator=generator) * 1.2 - 0.6
        labels = side + 0.05 * torch.randn(256, 1, 1, generator=generator)
        loss = head.loss(Context(pooled_BD=torch.ones(256, 2)), labels, NO_PADS.expand(256, 1)).loss_BT.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    context = Context(pooled_BD=torch.ones(1000, 2))
    samples = head.sample(context, generator=generator).detach().numpy().ravel()
    assert ((np.abs(samples) > 0.4) & (np.abs(samples) < 0.8)).mean() > 0.97
    assert 0.35 < (samples > 0).mean() < 0.65
    assert 0.4 < abs(head.point(context)[0].item()) < 0.8


def test_rescaling_moves_the_means_of_each_dimension() -> None:
    leaf = action_spec(gym.spaces.Box(-1, 1, (2,))).leaf
    head = MixtureConfig(num_components=3).build(leaf, 3, 4, generator=torch.Generator().manual_seed(0))
    context, slope, shift = Context(pooled_BD=torch.randn(5, 3)), torch.tensor([0.5, 1.0]), torch.tensor([-0.1, 0.0])
    with torch.no_grad():
        weights, means, log_std = head.components(context)
        head.rescale(slope, shift)
        after = head.components(context)
    torch.testing.assert_close(after[1], means * slope + shift)
    assert torch.equal(after[0], weights)
    assert torch.equal(after[2], log_std)

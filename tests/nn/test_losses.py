import math

import numpy as np
import pytest
import torch
from scipy import stats

from distil.nn.losses import (
    absolute_error,
    categorical_log_prob,
    drawn_log_prob,
    masked_mean,
    pre_image,
    squared_error,
    squashed_gaussian_log_prob,
    weighted_mean,
)


def test_pads_count_in_neither_numerator_nor_denominator():
    values = torch.tensor([[1.0, 3.0, math.nan], [5.0, 6.0, 7.0], [math.inf, math.nan, 1.0]])
    is_pad = torch.tensor([[False, False, True], [False, False, False], [True, True, True]])
    assert masked_mean(values, is_pad).tolist() == [2.0, 6.0, 0.0]
    assert masked_mean(values[:, :1], is_pad[:, :1]).tolist() == [1.0, 5.0, 0.0]


def test_a_weighted_mean_has_one_denominator(monkeypatch):
    values = torch.tensor([1.0, 2.0, 6.0])
    assert float(weighted_mean(values, None)) == 3.0
    assert float(weighted_mean(values, torch.tensor([1.0, 0.0, 3.0]))) == 19 / 4
    assert float(weighted_mean(values, torch.zeros(3))) == 0.0
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.add_(6.0))  # the other rank's weights
    assert float(weighted_mean(values, torch.tensor([1.0, 0.0, 3.0]), world_size=2)) == pytest.approx(2 * 19 / 10)


def test_errors_are_means_over_the_action_s_dimensions():
    predicted, actions = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), torch.tensor([[[0.0, 4.0], [0.0, 3.0]]])
    assert squared_error(predicted, actions).tolist() == [[2.5, 4.5]]
    assert absolute_error(predicted, actions).tolist() == [[1.5, 1.5]]


def test_the_probability_of_choices_is_the_product_over_factors():
    logits = torch.tensor([[0.1, 0.9, -torch.inf], [2.0, -1.0, 0.5]]).reshape(1, 1, 2, 3)
    p = [np.exp([0.1, 0.9]) / np.exp([0.1, 0.9]).sum(), np.exp([2.0, -1.0, 0.5]) / np.exp([2.0, -1.0, 0.5]).sum()]
    total = categorical_log_prob(logits, torch.tensor([[[1, 2]]]))
    assert total.shape == (1, 1)
    assert float(total) == pytest.approx(math.log(p[0][1] * p[1][2]), rel=1e-5)


def test_the_squashed_density_is_the_change_of_variables():
    mean, log_std, u = np.array([0.3, -0.2]), np.array([-0.4, 0.1]), np.array([0.9, -0.6])
    expected = (stats.norm.logpdf(u, mean, np.exp(log_std)) - np.log1p(-(np.tanh(u) ** 2))).sum()
    actual = squashed_gaussian_log_prob(*(torch.tensor(value).reshape(1, 1, 2) for value in (mean, log_std, u)))
    np.testing.assert_allclose(actual.numpy(), [[expected]], rtol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: masked_mean(torch.zeros(2, 1), torch.zeros(2, 3, dtype=torch.bool)),
        lambda: weighted_mean(torch.zeros(3), torch.zeros(3, 1)),
        lambda: weighted_mean(torch.zeros(3, 1), None),
        lambda: squared_error(torch.zeros(4, 1, 2), torch.zeros(4, 2)),
        lambda: absolute_error(torch.zeros(4, 1, 2), torch.zeros(4, 1, 1)),
        lambda: categorical_log_prob(torch.zeros(4, 2, 3), torch.zeros(4, 2, dtype=torch.int64)),
        lambda: squashed_gaussian_log_prob(torch.zeros(4, 1, 2), torch.zeros(4, 1, 2), torch.zeros(4, 1, 1)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call):
    with pytest.raises(AssertionError):
        call()


def test_the_density_of_a_drawn_sample_is_that_of_its_pre_image():
    """CORRECTNESS 18, with gradients, also far out."""
    rng = torch.Generator().manual_seed(0)
    mean, log_std, noise = (torch.randn(6, 1, 3, generator=rng, dtype=torch.float64) * size for size in (3, 1, 1))
    mean[0], found = 30.0, []
    for log_prob in (
        lambda mean, log_std, u: squashed_gaussian_log_prob(mean, log_std, u),
        lambda mean, log_std, u: drawn_log_prob(noise, log_std, u),
    ):
        inputs = [mean.clone().requires_grad_(), log_std.clone().requires_grad_()]
        value = log_prob(*inputs, inputs[0] + inputs[1].exp() * noise)
        found.append([value, *torch.autograd.grad(value.sum(), inputs)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_pre_image_of_an_action_is_finite_also_on_the_bounds() -> None:
    actions = torch.tensor([[[-1.0, -0.5, 0.0, 0.9, 1.0]]])
    found = pre_image(actions)
    assert found.isfinite().all()
    torch.testing.assert_close(found.tanh(), actions, rtol=0, atol=2e-6)

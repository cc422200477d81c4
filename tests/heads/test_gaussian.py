import gymnasium as gym
import numpy as np
import pytest
import torch
from densitybed import integral, ones, p_value_of_samples
from scipy import stats

from distil.heads.base import Context, Head
from distil.heads.config import GaussianConfig
from distil.spaces import action_spec


def _head(num: int, mean: list[float], log_std: list[float], chunk: int = 1) -> Head:
    leaf = action_spec(gym.spaces.Box(-1, 1, (num,))).leaf
    head = GaussianConfig().build(leaf, 1, chunk, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor(mean + log_std))
    return head


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.7, -1.0), (-1.5, 0.5), (0.2, -3.0)])
def test_log_prob_integrates_to_one(mean: float, log_std: float) -> None:
    """CORRECTNESS 24."""
    np.testing.assert_allclose(integral(_head(1, [mean], [log_std])), 1, atol=2e-3)


def test_samples_match_the_density() -> None:
    """CORRECTNESS 24."""
    assert p_value_of_samples(_head(1, [0.5], [-0.5])) > 0.01


def test_log_prob_is_the_change_of_variables_summed_over_dimensions() -> None:
    head = _head(2, [0.3, -0.2], [-0.4, 0.1])
    u = np.array([0.9, -0.6])
    expected = stats.norm.logpdf(u, [0.3, -0.2], np.exp([-0.4, 0.1])) - np.log1p(-(np.tanh(u) ** 2))
    actual = head.log_prob(ones(1), torch.tensor(np.tanh(u), dtype=torch.float32).reshape(1, 1, 2))
    np.testing.assert_allclose(actual.detach().numpy(), [[expected.sum()]], rtol=1e-5)


def test_labels_on_the_bound_give_a_finite_loss_and_gradient() -> None:
    head = _head(2, [0.0, 0.0], [0.0, 0.0])
    loss = head.loss(ones(1), torch.tensor([[[1.0, -1.0]]]), torch.zeros(1, 1, dtype=torch.bool)).loss_BT
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(head.linear.bias.grad).all()


def test_deviation_is_clamped() -> None:
    narrow, wide = _head(1, [0.0], [-50.0]), _head(1, [0.0], [50.0])
    noise = torch.ones(1, 1)
    np.testing.assert_allclose(narrow.sample_from(ones(1), noise).item(), np.tanh(np.exp(-5)), rtol=1e-4)
    np.testing.assert_allclose(wide.sample_from(ones(1), noise * 0.1).item(), np.tanh(0.1 * np.exp(2)), rtol=1e-4)


def test_rescaling_moves_the_mean_of_each_dimension() -> None:
    head = GaussianConfig().build(
        action_spec(gym.spaces.Box(-1, 1, (2,))).leaf, 3, 4, generator=torch.Generator().manual_seed(0)
    )
    context, slope, shift = Context(pooled_BD=torch.randn(5, 3)), torch.tensor([0.5, 1.0]), torch.tensor([-0.1, 0.0])
    with torch.no_grad():
        before, (_, log_std) = head.point(context), head.moments(context)
        head.rescale(slope, shift)
        torch.testing.assert_close(head.point(context), (before.atanh() * slope + shift).tanh())
        assert torch.equal(head.moments(context)[1], log_std)


def test_a_drawn_sample_has_the_density_of_log_prob() -> None:
    """CORRECTNESS 18: squash-corrected."""
    head, noise = _head(2, [0.3, -0.2], [-0.4, 0.1]), torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    actions, log_prob = head.draw(ones(50), noise)
    torch.testing.assert_close(actions, head.sample_from(ones(50), noise))
    torch.testing.assert_close(log_prob, head.log_prob(ones(50), actions), rtol=1e-4, atol=1e-4)


def test_a_drawn_sample_on_the_bound_has_a_finite_density_and_gradient() -> None:
    head = _head(1, [0.0], [2.0])
    actions, log_prob = head.draw(ones(1), torch.full((1, 1), 20.0))
    assert actions.item() == 1.0
    (log_prob.sum() + actions.sum()).backward()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(head.linear.bias.grad).all()


def test_the_estimate_of_the_entropy_is_right_on_average() -> None:
    head = _head(1, [0.4], [-0.7])
    estimate = head.entropy(
        ones(20_000), torch.randn(20_000, head.noise_size, generator=torch.Generator().manual_seed(0))
    ).mean()
    a = torch.linspace(-1 + 1e-5, 1 - 1e-5, 100_001).reshape(-1, 1, 1)
    log_p = head.log_prob(ones(len(a)), a).squeeze()
    np.testing.assert_allclose(
        float(estimate.detach()), -float(torch.trapezoid((log_p.exp() * log_p), a.squeeze()).detach()), atol=0.02
    )

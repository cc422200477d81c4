import math

import torch
from chunkbed import SMALL, TWO

from distil.heads.base import Context
from distil.heads.latent import LatentHead
from distil.heads.latent_config import LatentConfig


def _head() -> LatentHead:
    config = LatentConfig(network=SMALL, posterior=(8,), latent_dim=3, kl_weight=0.5)
    head = config.build(TWO, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    head.moments.weight.zero_()  # the same posterior for all labels
    head.moments.bias.zero_()
    return head


def test_the_loss_is_the_error_and_each_steps_part_of_the_divergence() -> None:
    """Of N(1, e) from N(0, 1) in each of three numbers: (1 + e^2 - 1) / 2 - 1."""
    head, context, labels = _head(), Context(pooled_BD=torch.randn(2, 4)), torch.rand(2, 3, 2) - 0.5
    is_pad = torch.tensor([[False, False, True], [True, True, True]])
    found = head.loss(context, labels, is_pad, generator=torch.Generator().manual_seed(1))
    drawn = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    decoded = head.call(context, drawn[:, None].expand(2, 3, 3))
    error = (decoded - labels)[0, :2].abs().mean(-1)
    torch.testing.assert_close(found.loss_BT[0, :2], error)
    head.moments.bias.copy_(torch.tensor([1.0, 1, 1, 1, 1, 1]))
    moved = head.loss(context, labels, is_pad, generator=torch.Generator().manual_seed(1))
    error = (head.call(context, (1 + math.e * drawn)[:, None].expand(2, 3, 3)) - labels)[0, :2].abs().mean(-1)
    divergence = 3 * (math.e**2 / 2 - 1)
    torch.testing.assert_close(moved.loss_BT[0, :2], error + 0.5 * divergence)
    torch.testing.assert_close(moved.extras["kl"], torch.full((2, 3), divergence))
    torch.testing.assert_close(moved.extras["reconstruction"][0, :2], error)
    assert torch.isfinite(moved.loss_BT).all()


def test_the_default_action_is_that_of_zero_and_no_sample_leaves_the_range() -> None:
    head, context = _head(), Context(pooled_BD=torch.randn(5, 4))
    torch.testing.assert_close(head.point(context), head.sample_from(context, torch.zeros(5, 3)))
    head.network.out.bias.add_(torch.tensor([9.0, -9.0]).repeat(3))
    assert head.sample_from(context, torch.randn(5, 3))[0, 0].tolist() == [1.0, -1.0]


def test_the_posterior_knows_which_steps_have_labels() -> None:
    """A chunk that ends is not one whose last actions are 0."""
    config = LatentConfig(network=SMALL, posterior=(8,))
    head = config.build(TWO, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    context, labels, is_pad = Context(pooled_BD=torch.ones(1, 4)), torch.zeros(1, 3, 2), torch.tensor([[False, False, True]])
    found = [head.loss(context, labels, pads, generator=torch.Generator().manual_seed(0)) for pads in (is_pad, is_pad & False)]
    assert not torch.equal(found[0].extras["kl"], found[1].extras["kl"])

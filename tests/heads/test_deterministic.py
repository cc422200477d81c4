import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.heads.base import Context
from distil.heads.config import DeterministicConfig
from distil.policies.layout import carried_over
from distil.spaces import action_spec

LEAF = action_spec(gym.spaces.Box(-1, 1, (2,))).leaf


@pytest.mark.parametrize("bound", ["clip", "tanh"])
@pytest.mark.parametrize(("kind", "power"), [("mse", 2), ("l1", 1)])
def test_loss_is_the_mean_error_over_dimensions(kind: str, power: int, bound: str) -> None:
    head = DeterministicConfig(loss=kind, bound=bound).build(LEAF, 3, 4, generator=torch.Generator().manual_seed(0))
    context, actions = Context(pooled_BD=torch.rand(5, 3) / 2), torch.rand(5, 4, 2)  # inside the bounds
    expected = (head.point(context) - actions).abs().pow(power).mean(-1)
    torch.testing.assert_close(head.loss(context, actions, torch.zeros(5, 4, dtype=torch.bool)).loss_BT, expected)


def test_two_modes_land_between() -> None:
    """CORRECTNESS 25: the deterministic head answers the mean of two modes, which is nobody's action."""
    head = DeterministicConfig().build(LEAF, 1, 1, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    context, is_pad = Context(pooled_BD=torch.ones(256, 1)), torch.zeros(256, 1, dtype=torch.bool)
    actions = torch.where(torch.arange(256) % 2 == 0, 0.8, -0.8).reshape(256, 1, 1).expand(256, 1, 2)
    for _ in range(150):
        optimiser.zero_grad()
        head.loss(context, actions, is_pad).loss_BT.mean().backward()
        optimiser.step()
    assert float(head.point(context)[:1].detach().abs().max()) < 0.05


def test_clipping_leaves_errors_beyond_the_bounds_their_gradient() -> None:
    """A policy that wants more than the bound acts at the bound, and learns as if there was none; tanh learns nothing there."""
    found = {}
    for bound in ("clip", "tanh"):
        head = DeterministicConfig(bound=bound).build(LEAF, 1, 1, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            head.linear.weight.fill_(0)
            head.linear.bias.copy_(torch.tensor([3.0, -9.0]))
        context, actions = Context(pooled_BD=torch.ones(1, 1)), torch.tensor([[[0.5, 1.0]]])
        point, loss = head.point(context), head.loss(context, actions, torch.zeros(1, 1, dtype=torch.bool)).loss_BT
        (gradient,) = torch.autograd.grad(loss.sum(), head.linear.bias)
        found[bound] = point.flatten().tolist(), gradient.tolist()
    assert found["clip"] == ([1.0, -1.0], [2.5, -10.0])
    assert max(map(abs, found["tanh"][1])) < 0.01


def test_rescaling_without_tanh_keeps_every_action() -> None:
    leaf = action_spec(gym.spaces.Box(-float("inf"), float("inf"), (2,))).leaf
    old, new = (np.array([0.0, 1.0]), np.array([1.0, 2.0])), (np.array([0.5, 0.0]), np.array([2.0, 4.0]))
    head = DeterministicConfig().build(leaf, 3, 4, generator=torch.Generator().manual_seed(0))
    context, slope_and_shift = Context(pooled_BD=torch.rand(5, 3) / 5), carried_over(old, new)
    with torch.no_grad():
        before = head.point(context).numpy() * old[1] + old[0]
        head.rescale(*(torch.from_numpy(value).float() for value in slope_and_shift))
        np.testing.assert_allclose(head.point(context).numpy() * new[1] + new[0], before, atol=1e-6)


def test_rescaling_moves_each_dimension() -> None:
    head = DeterministicConfig(bound="tanh").build(LEAF, 3, 4, generator=torch.Generator().manual_seed(0))
    context, slope, shift = Context(pooled_BD=torch.randn(5, 3)), torch.tensor([0.5, 1.0]), torch.tensor([-0.1, 0.0])
    with torch.no_grad():
        before = head.point(context)
        head.rescale(slope, shift)
        torch.testing.assert_close(head.point(context), (before.atanh() * slope + shift).tanh())

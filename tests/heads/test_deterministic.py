import gymnasium as gym
import pytest
import torch

from distil.heads.base import Context
from distil.heads.config import DeterministicConfig
from distil.spaces import action_spec

LEAF = action_spec(gym.spaces.Box(-1, 1, (2,))).leaf


@pytest.mark.parametrize(("kind", "power"), [("mse", 2), ("l1", 1)])
def test_loss_is_the_mean_error_over_dimensions(kind: str, power: int) -> None:
    head = DeterministicConfig(loss=kind).build(LEAF, 3, 4, generator=torch.Generator().manual_seed(0))
    context, actions = Context(pooled_BD=torch.randn(5, 3)), torch.rand(5, 4, 2)
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


def test_rescaling_moves_each_dimension() -> None:
    head = DeterministicConfig().build(LEAF, 3, 4, generator=torch.Generator().manual_seed(0))
    context, slope, shift = Context(pooled_BD=torch.randn(5, 3)), torch.tensor([0.5, 1.0]), torch.tensor([-0.1, 0.0])
    with torch.no_grad():
        before = head.point(context)
        head.rescale(slope, shift)
        torch.testing.assert_close(head.point(context), (before.atanh() * slope + shift).tanh())

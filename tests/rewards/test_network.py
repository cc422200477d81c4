import pytest
import torch
from rewardbed import steps

from distil.rewards.network import StepNetwork, gradient_penalty, weighted


@pytest.mark.parametrize(("sees", "size"), [("state", 4), ("state_action", 6), ("transition", 9)])
def test_it_sees_what_it_should_and_the_mark(sees: str, size: int) -> None:
    network = StepNetwork(3, 2, sees=sees, hidden=(4,), spectral=False, generator=torch.Generator().manual_seed(0))
    assert network.inputs(steps(5)).shape == (5, size)
    assert network.inputs(steps(5))[:, -1].tolist() == [0.0] * 5
    assert network.absorbing().sum() == network.absorbing()[0, -1] == 1


def test_spectral_normalisation_bounds_the_slope() -> None:
    network = StepNetwork(3, 2, sees="state", hidden=(8,), spectral=True, generator=torch.Generator().manual_seed(0))
    network.train()
    for _ in range(50):  # power iterations
        network(network.inputs(steps(5)))
    network.eval()
    a, b = network.inputs(steps(5)), network.inputs(steps(6))[:5]
    assert ((network(a) - network(b)).abs() <= 1.05 * (a - b).norm(dim=-1)).all()


def test_the_gradient_penalty_has_second_derivatives() -> None:
    network = StepNetwork(3, 2, sees="state_action", hidden=(4,), spectral=False, generator=torch.Generator().manual_seed(0))
    penalty = gradient_penalty(network, network.inputs(steps(5)), network.inputs(steps(7)), torch.Generator().manual_seed(0))
    penalty.backward()
    assert network.mlp.layers[0].weight.grad.abs().sum() > 0


def test_an_episode_that_ends_early_counts_as_one_that_goes_on_in_the_absorbing_state() -> None:
    """CORRECTNESS 17: by discounted weights, two steps and an end are two steps and endless absorbing ones."""
    values, absorbing, discount = torch.tensor([1.0, 2.0]), torch.tensor(5.0), 0.9
    ended = torch.tensor([False, True])
    rest = 0.9 + 0.9**2 / (1 - 0.9)  # sum of 0.9^k, k = 1, 2, ...
    torch.testing.assert_close(weighted(values, absorbing, ended, discount), torch.tensor((1 + 2 + rest * 5) / (2 + rest)))

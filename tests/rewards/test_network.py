import pytest
import torch
from rewardbed import steps

from distil.errors import RunError
from distil.rewards.network import MARK, StepNetwork, gradient_penalty, weighted


@pytest.mark.parametrize(("sees", "size"), [("state", 4), ("state_action", 6), ("transition", 9)])
def test_it_sees_what_it_should_and_the_mark(sees: str, size: int) -> None:
    network = StepNetwork(3, 2, sees=sees, hidden=(4,), spectral=False, generator=torch.Generator().manual_seed(0))
    assert network.inputs(steps(5)).shape == (5, size)
    assert network.inputs(steps(5))[:, -1].tolist() == [0.0] * 5
    assert network.absorbing().sum() == network.absorbing()[0, -1] == MARK


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


def _network(**settings) -> StepNetwork:
    generator = torch.Generator().manual_seed(0)
    return StepNetwork(3, 2, sees="state", hidden=(16,), **{"spectral": False, "generator": generator} | settings)


def _judge(network: StepNetwork, agent_ends: list[int], seed: int = 0, penalty: float = 0.0):
    generator = torch.Generator().manual_seed(seed)
    return network.judge(steps(8), steps(8, ended=agent_ends), generator, penalty=penalty, discount=0.99)


def test_the_mark_is_at_the_last_step_where_the_end_is_an_input() -> None:
    network = _network(ends="done")
    assert network.inputs(steps(4, ended=[2]))[:, -1].tolist() == [0, 0, MARK, 0]
    assert (network.rest(0.9), network.after_end(torch.tensor(3.0)).item()) == (0.0, 0.0)


def test_the_absorbing_state_has_a_reward_only_where_it_is_chosen() -> None:
    assert (_network().rest(0.9), _network().after_end(torch.tensor(3.0)).item()) == (0.9, 3.0)


def test_ends_that_are_ignored_must_not_happen() -> None:
    """CORRECTNESS 17."""
    _judge(_network(ends="ignore"), [])
    with pytest.raises(RunError, match=r"algorithm\.reward\.ends=absorbing"):
        _judge(_network(ends="ignore"), [3])


def test_dropout_is_in_losses_alone_and_by_the_generator() -> None:
    network = _network(spectral=False, dropout=0.5)
    first, same, other = (_judge(network, [], seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    rows = network.inputs(steps(8))
    assert torch.equal(network(rows), network(rows))


def test_the_absorbing_state_has_a_slope_with_a_limit_too() -> None:
    """Without it, the logit of a state that only the learner ends in would grow for ever, its value a hundred times that."""
    found = []
    for penalty in (0.0, 10.0):
        network = _network()
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        for i in range(300):
            _, agent, absorbing, loss = _judge(network, [1, 3, 5], i, penalty)
            optimiser.zero_grad()
            (absorbing - agent.mean() + loss).backward()
            optimiser.step()
        rows = network.inputs(steps(8))
        found.append((network(rows).mean() - network(network.absorbing())).item())
    assert found[0] > 3 * found[1]


def test_spectral_normalisation_starts_from_the_generator() -> None:
    torch.manual_seed(1)
    first = _network(spectral=True)
    torch.manual_seed(2)
    second = _network(spectral=True)
    assert all(map(torch.equal, first.buffers(), second.buffers()))
    assert list(first.buffers())

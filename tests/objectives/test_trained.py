import pytest
import torch
from torch import nn

from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import ALONE
from distil.objectives.trained import Trained, follow


def line(value: float = 1.0) -> nn.Linear:
    made = nn.Linear(2, 1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.fill_(value)
    return made


@pytest.mark.parametrize("clip", [None, 0.1])
def test_steps_are_those_of_adamw_with_clipping(clip: float | None) -> None:
    ours, theirs, x = line(), line(), torch.tensor([[1.0, 2.0]])
    trained = Trained(dict(ours.named_parameters()), OptimiserConfig(weight_decay=0.1, grad_clip=clip), ALONE)
    adamw = torch.optim.AdamW(theirs.parameters(), 0.05, weight_decay=0.1)
    for _ in range(3):
        trained.minimise(ours(x).square().mean(), 0.05)
        adamw.zero_grad()
        theirs(x).square().mean().backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        adamw.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_a_loss_moves_the_given_weights_only() -> None:
    own, other = line(), line()
    trained = Trained(dict(own.named_parameters()), OptimiserConfig(), ALONE)
    trained.minimise(other(own(torch.ones(1, 2)).expand(1, 2)).sum(), 0.1)
    assert torch.equal(other.weight, line().weight)
    assert all(weight.grad is None for weight in [*own.parameters(), *other.parameters()])
    assert not torch.equal(own.weight, line().weight)


def test_the_optimiser_can_be_saved() -> None:
    first, second = line(), line()
    ours, theirs = (Trained(dict(net.named_parameters()), OptimiserConfig(), ALONE) for net in (first, second))
    for _ in range(3):
        ours.minimise(first(torch.ones(1, 2)).square().sum(), 0.1)
    second.load_state_dict(first.state_dict())
    theirs.load(ours.tensors())
    for trained, net in ((ours, first), (theirs, second)):
        trained.minimise(net(torch.ones(1, 2)).square().sum(), 0.1)
    assert torch.equal(first.weight, second.weight)
    assert ours.num_steps == theirs.num_steps == 4


def test_a_target_follows_slowly_and_takes_the_statistics_over() -> None:
    target, online = nn.Sequential(line(0.0), nn.BatchNorm1d(1)), nn.Sequential(line(1.0), nn.BatchNorm1d(1))
    online[1].running_mean.fill_(7.0)
    for expected in (0.1, 0.19):
        follow(target, online, 0.1)
        torch.testing.assert_close(target[0].weight, torch.full((1, 2), expected))
    assert target[1].running_mean.item() == 7.0
    assert online[0].weight[0, 0].item() == 1.0

import pytest
import torch
from torch import nn
from torch.func import functional_call

from distil.nn.critics import Critics


@pytest.mark.parametrize("standardised", [False, True])
def test_each_network_is_a_perceptron_of_its_own(standardised: bool) -> None:
    critics = Critics(3, (5, 4), 2, torch.Generator().manual_seed(0), standardised=standardised)
    x_BD = torch.randn(7, 3)
    for index in range(2):
        layers: list[nn.Module] = []
        for weight, bias in zip(critics.weights, critics.biases, strict=True):
            layer = nn.Linear(*weight.shape[1:])
            layer.weight.data, layer.bias.data = weight[index].T, bias[index, 0]
            norm = nn.LayerNorm(layer.out_features, elementwise_affine=False)
            layers += [layer, *([norm] if standardised else []), nn.ReLU()]
        layers = layers[: -2 if standardised else -1]
        torch.testing.assert_close(critics(x_BD)[index], nn.Sequential(*layers)(x_BD)[:, 0])
    assert not torch.equal(*critics(x_BD))


def test_start_weights_follow_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = Critics(3, (5,), 2, torch.Generator().manual_seed(0)).state_dict()
    torch.manual_seed(2)
    second = Critics(3, (5,), 2, torch.Generator().manual_seed(0)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["relu", "tanh"])
def test_gradients_are_those_of_the_layers(kind: str) -> None:
    critics = Critics(3, (5, 4), 2, torch.Generator().manual_seed(0), kind=kind).double()
    x_BD = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*critics.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(
        lambda *inputs: functional_call(critics, dict(zip(names, inputs[1:], strict=True)), inputs[0]), (x_BD, *weights)
    )


def test_the_gradient_of_the_input_alone_asks_nothing_of_the_weights() -> None:
    """An actor's loss goes through critics that it does not train."""
    critics = Critics(3, (5,), 2, torch.Generator().manual_seed(0))
    x_BD = torch.randn(7, 3, requires_grad=True)
    (free,) = torch.autograd.grad(critics(x_BD).sum(), x_BD)
    frozen = critics.requires_grad_(False)
    torch.testing.assert_close(torch.autograd.grad(frozen(x_BD).sum(), x_BD)[0], free)
    assert all(weight.grad is None for weight in critics.parameters())

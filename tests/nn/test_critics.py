import torch
from torch import nn

from distil.nn.critics import Critics


def test_each_network_is_a_perceptron_of_its_own() -> None:
    critics = Critics(3, (5, 4), 2, torch.Generator().manual_seed(0))
    x_BD = torch.randn(7, 3)
    for index in range(2):
        layers: list[nn.Module] = []
        for weight, bias in zip(critics.weights, critics.biases, strict=True):
            layer = nn.Linear(*weight.shape[1:])
            layer.weight.data, layer.bias.data = weight[index].T, bias[index, 0]
            layers += [layer, nn.ReLU()]
        torch.testing.assert_close(critics(x_BD)[index], nn.Sequential(*layers[:-1])(x_BD)[:, 0])
    assert not torch.equal(*critics(x_BD))


def test_start_weights_follow_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = Critics(3, (5,), 2, torch.Generator().manual_seed(0)).state_dict()
    torch.manual_seed(2)
    second = Critics(3, (5,), 2, torch.Generator().manual_seed(0)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)

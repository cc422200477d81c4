import numpy as np
import pytest
import torch

from distil.nn.mlp import Mlp, activation, linear


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_start_is_torchs_and_seeded() -> None:
    layer = linear(100, 200, _generator())
    assert float(layer.weight.detach().abs().max()) <= 0.1
    np.testing.assert_allclose(float(layer.weight.detach().std()), 0.1 / np.sqrt(3), rtol=0.02)
    assert torch.equal(layer.weight, linear(100, 200, _generator()).weight)
    assert not torch.equal(layer.weight, linear(100, 200, _generator(1)).weight)


def test_global_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    Mlp(3, [4, 5], "relu", _generator())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", ["relu", "tanh", "silu"])
def test_mlp_is_layers_and_activations(kind: str) -> None:
    mlp = Mlp(3, [4, 5], kind, _generator())
    x = torch.randn(2, 3, generator=_generator())
    first, _, second, _ = mlp.layers
    act = activation(kind)
    assert torch.equal(mlp(x), act(second(act(first(x)))))
    assert mlp.num_out == 5


def test_no_hidden_layer_is_the_identity() -> None:
    mlp = Mlp(3, [], "relu", _generator())
    x = torch.randn(2, 3, generator=_generator())
    assert mlp.num_out == 3
    assert torch.equal(mlp(x), x)

import pickle

import numpy as np
import pytest

from distil.experts.network import ACTIVATIONS, Layer, Norm, NumpyMlp

torch = pytest.importorskip("torch")


def layer(module, activation=None, norm=None):
    bias = None if module.bias is None else module.bias.detach().numpy()
    return Layer(weight=module.weight.detach().numpy(), bias=bias, activation=activation, norm=norm)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_equals_torch(activation):
    torch.manual_seed(0)
    act = getattr(torch.nn, activation)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 16), act(), torch.nn.Linear(16, 8, bias=False), act(), torch.nn.Linear(8, 3)
    )
    layers = [layer(m, activation if index < 2 else None) for index, m in enumerate(theirs[::2])]
    ours = NumpyMlp(layers)
    assert (ours.num_inputs, ours.num_outputs) == (5, 3)
    for num in (7, 2, 7):
        x = (np.random.default_rng(num).normal(size=(num, 5)) * 4).astype(np.float32)
        ours.input(num)[:] = x
        np.testing.assert_allclose(ours.forward(), theirs(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_normalises_before_the_activation():
    torch.manual_seed(0)
    affine, norm = torch.nn.Linear(5, 8), torch.nn.LayerNorm(8, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    theirs = torch.nn.Sequential(affine, norm, torch.nn.Tanh())
    own = Norm(weight=norm.weight.detach().numpy(), bias=norm.bias.detach().numpy(), epsilon=1e-3)
    ours, x = NumpyMlp([layer(affine, "Tanh", own)]), np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    ours.input(6)[:] = x
    np.testing.assert_allclose(ours.forward(), theirs(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_buffers_are_kept_and_not_pickled():
    mlp = NumpyMlp([Layer(weight=np.ones((2, 3), np.float32), bias=None)])
    assert mlp.input(10_000) is mlp.input(10_000)
    assert len(pickle.dumps(mlp)) < 1000
    copy = pickle.loads(pickle.dumps(mlp))
    copy.input(1)[:] = 1
    np.testing.assert_array_equal(copy.forward(), [[3, 3]])

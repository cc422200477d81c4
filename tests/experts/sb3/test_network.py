import pickle

import numpy as np
import pytest

from distil.experts.sb3.network import ACTIVATIONS, Layer, NumpyMlp

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_equals_torch(activation):
    torch.manual_seed(0)
    act = getattr(torch.nn, activation)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 16), act(), torch.nn.Linear(16, 8, bias=False), act(), torch.nn.Linear(8, 3)
    )
    layers = [
        Layer(weight=m.weight.detach().numpy(), bias=None if m.bias is None else m.bias.detach().numpy()) for m in theirs[::2]
    ]
    ours = NumpyMlp(layers, activation)
    assert (ours.num_inputs, ours.num_outputs) == (5, 3)
    for num in (7, 2, 7):
        x = (np.random.default_rng(num).normal(size=(num, 5)) * 4).astype(np.float32)
        ours.input(num)[:] = x
        np.testing.assert_allclose(ours.forward(), theirs(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_buffers_are_kept_and_not_pickled():
    mlp = NumpyMlp([Layer(weight=np.ones((2, 3), np.float32), bias=None)], "ReLU")
    assert mlp.input(10_000) is mlp.input(10_000)
    assert len(pickle.dumps(mlp)) < 1000
    copy = pickle.loads(pickle.dumps(mlp))
    copy.input(1)[:] = 1
    np.testing.assert_array_equal(copy.forward(), [[3, 3]])

import numpy as np
import pytest
import torch

from distil.nn.activations import ACTIVATIONS
from distil.nn.mlp import activation


@pytest.mark.parametrize("name", ["relu", "tanh", "silu"])
def test_they_equal_torchs(name: str) -> None:
    x = np.linspace(-100, 100, 2001, dtype=np.float32)
    expected = activation(name)(torch.from_numpy(x.copy())).numpy()
    ACTIVATIONS[name](x)
    np.testing.assert_allclose(x, expected, atol=1e-5)

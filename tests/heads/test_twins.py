import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.heads.base import Context
from distil.heads.config import CategoricalConfig, DeterministicConfig, GaussianConfig, MixtureConfig
from distil.spaces import action_spec

SPACES = [
    (DeterministicConfig(), gym.spaces.Box(-1, 1, (2, 2))),
    (DeterministicConfig(bound="tanh"), gym.spaces.Box(-1, 1, (2, 2))),
    (GaussianConfig(min_log_std=-1, max_log_std=0.2), gym.spaces.Box(-1, 1, (3,))),
    (MixtureConfig(num_components=4, min_log_std=-1, max_log_std=0.2), gym.spaces.Box(-1, 1, (3,))),
    (CategoricalConfig(), gym.spaces.Discrete(4)),
    (CategoricalConfig(), gym.spaces.MultiDiscrete([[2, 3], [4, 5]])),
]


@pytest.mark.parametrize(("config", "space"), SPACES)
def test_a_twin_equals_its_head(config: GaussianConfig, space: gym.Space) -> None:
    """CORRECTNESS 5; tiles of 4 lanes, of which the last one is not full."""
    leaf, chunk, num, lanes = action_spec(space).leaf, 2, 6, 4
    head = config.build(leaf, 5, chunk, generator=torch.Generator().manual_seed(0))
    twin = config.numpy_twin(leaf, chunk)
    assert (twin.noise_kind, twin.noise_size) == (head.noise_kind, head.noise_size)
    context = Context(pooled_BD=4 * torch.randn(num, 5, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        outputs = head.linear(context.pooled_BD).numpy()
    assert outputs.shape == (num, twin.num_outputs)
    noise = np.random.default_rng(0).random((num, twin.noise_size), np.float32)
    for drawn in (None, noise):
        tiles = np.zeros((2 * lanes, twin.num_outputs), np.float32)
        tiles[:num] = outputs
        found = twin(tiles.reshape(2, lanes, -1).transpose(0, 2, 1).copy(), num, drawn)
        expected = head.point(context) if drawn is None else head.sample_from(context, torch.from_numpy(drawn))
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)

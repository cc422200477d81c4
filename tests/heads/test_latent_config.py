import gymnasium as gym
import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.heads.combine import medoid
from distil.heads.latent_config import LatentConfig
from distil.policies.config import PolicyConfig
from distil.spaces import action_spec


def test_settings() -> None:
    config = validate(PolicyConfig, {"head": {"kind": "latent", "latent_dim": 4}}).head
    assert config == LatentConfig(latent_dim=4)
    with pytest.raises(InputError, match=r"policy\.head\.kind=latent doesn't fit a discrete action space: leave it at auto"):
        config.resolve(action_spec(gym.spaces.Discrete(3)).leaf)
    for broken in ({"latent_dim": 0}, {"kl_weight": 0}, {"posterior": [0]}):
        with pytest.raises(InputError, match=rf"head\.{next(iter(broken))}"):
            validate(PolicyConfig, {"head": {"kind": "latent", **broken}})


def test_an_ensemble_acts_as_one_of_its_members() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (3, 4, 2, 1)).astype(np.float32)
    np.testing.assert_array_equal(LatentConfig().combine(points)[0], medoid(points)[0])

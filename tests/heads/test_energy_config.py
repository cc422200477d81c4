import gymnasium as gym
import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.heads.combine import medoid
from distil.heads.energy_config import EnergyConfig
from distil.policies.config import PolicyConfig
from distil.spaces import action_spec


def test_settings() -> None:
    config = validate(PolicyConfig, {"head": {"kind": "energy", "hidden": [8]}}).head
    assert config == EnergyConfig(hidden=(8,))
    assert config.resolve(action_spec(gym.spaces.Box(-1, 1, (2,))).leaf) == config
    with pytest.raises(InputError, match=r"policy\.head\.kind=energy doesn't fit a discrete action space: leave it at auto"):
        config.resolve(action_spec(gym.spaces.Discrete(3)).leaf)
    for broken in ({"hidden": []}, {"num_negatives": 0}, {"num_candidates": 1}, {"num_iterations": 0}):
        with pytest.raises(InputError, match=rf"head\.{next(iter(broken))}"):
            validate(PolicyConfig, {"head": {"kind": "energy", **broken}})


def test_an_ensemble_acts_as_one_of_its_members() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (3, 4, 2, 1)).astype(np.float32)
    np.testing.assert_array_equal(EnergyConfig().combine(points)[0], medoid(points)[0])

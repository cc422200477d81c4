import numpy as np
import pytest
import torch
from gymnasium import spaces

from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.spaces import action_spec, observation_spec
from distil.types import Batch


@pytest.fixture
def make_policy():
    """Return a function from a seed and hidden sizes to a small fitted policy: 3 observations, 2 bounded actions."""

    def make(seed: int = 0, hidden: tuple[int, ...] = (16, 16), chunk: int = 1, ensemble: int = 1) -> Policy:
        config = PolicyConfig(encoder=MlpConfig(hidden=hidden), chunk=chunk, ensemble=ensemble)
        observation = observation_spec(spaces.Box(-np.inf, np.inf, (3,), np.float32))
        policy = Policy(config, observation, action_spec(spaces.Box(-1, 1, (2,), np.float32)), seed=seed)
        rng = np.random.default_rng(0)
        policy.fit_normaliser({"obs": rng.normal(size=(50, 3)).astype("f4"), "action": np.zeros((50, 2), "f4")})
        return policy

    return make


@pytest.fixture
def make_batch():
    """Return a function from a seed and a size to a batch of torch tensors for `make_policy`'s policies."""

    def make(seed: int = 0, size: int = 8, weights: torch.Tensor | None = None, chunk: int = 1) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        obs = torch.randn(size, 1, 3, generator=generator)
        return Batch(
            observations={"obs": obs},
            actions=(0.5 * obs[..., :2]).tanh().expand(-1, chunk, -1),
            is_pad=torch.zeros(size, chunk, dtype=torch.bool),
            weights=weights,
        )

    return make

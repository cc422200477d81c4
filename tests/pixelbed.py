"""A policy that sees a small image and a pose, its data, and changes of them, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from distil.config import validate
from distil.objectives.augment_config import JitterConfig, ObservationNoiseConfig, ShiftConfig
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.spaces import action_spec, observation_spec
from distil.types import Batch

SPACE = spaces.Dict(image=spaces.Box(0, 255, (32, 32, 3), np.uint8), pose=spaces.Box(-9, 9, (2,), np.float32))
ACTION = action_spec(spaces.Box(-1, 1, (2,), np.float32))


def pixels(**keys: Any) -> Policy:
    """Return a fitted policy of random weights, always the same ones."""
    settings = {"encoder": {"kind": "cnn", "channels": [8, 8], "image_features": 16, "hidden": [16]}, **keys}
    policy = Policy(validate(PolicyConfig, settings), observation_spec(SPACE), ACTION, seed=0)
    policy.fit_normaliser({"obs/pose": np.random.default_rng(0).normal(size=(50, 2)), "action": np.zeros((50, 2), "f4")})
    if policy.head.needs_labels:
        policy.fit_labels(torch.rand(50, 1, 2, generator=torch.Generator().manual_seed(0)))
    return policy


def rows(num: int, horizon: int = 1, chunk: int = 1) -> Batch:
    """Return a batch of numpy arrays; the actions, all of a chunk alike, follow from the newest pose."""
    rng, shape = np.random.default_rng(num), (num, horizon)
    seen = {"obs/image": rng.integers(0, 256, (*shape, 32, 32, 3), np.uint8), "obs/pose": rng.normal(size=(*shape, 2))}
    actions = np.tanh(seen["obs/pose"][:, -1:]).astype(np.float32).repeat(chunk, 1)
    return Batch(observations=seen, actions=actions, is_pad=np.zeros((num, chunk), np.bool_))


def changes() -> list[Any]:
    """Return the configuration of each augmentation."""
    return [ShiftConfig(pixels=2), JitterConfig(), ObservationNoiseConfig(std=0.1)]

"""A small network that predicts one number from an observation. It is a policy whose action is that number.

Legend: R rows, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium as gym
import numpy as np

from distil.heads.config import DeterministicConfig
from distil.objectives.optimiser_config import OptimiserConfig
from distil.policies.config import CnnConfig, MlpConfig, PolicyConfig
from distil.policies.spec import PolicyRef
from distil.seeding import generator, integer
from distil.spaces import SpaceSpec, action_spec
from distil.types import Array, Batch

_HIDDEN, _NUM_STEPS, _BATCH, _LEARNING_RATE = (64, 64), 1000, 256, 1e-3
_CHANNELS, _IMAGE_BATCH = (16, 32, 32), 64  # a step with images costs a hundred times as much


def fit_regressor(observations: Mapping[str, Array], targets: Array, high: float, spec: SpaceSpec, seed: int) -> PolicyRef:
    """Return a policy whose action [1] is the number expected at an observation.

    Args:
        observations: leaf name -> [R, ...].
        targets: [R], clipped to 0 and `high`.
        high: the largest number that it can predict.
        spec: the observation space.
        seed: of weights and batches.
    """
    import torch

    from distil.objectives.fitting import fit
    from distil.policies.policy import Policy

    labels = np.clip(targets, 0, high).astype(np.float32)[:, None]
    space = action_spec(gym.spaces.Box(0.0, high, (1,), np.float32))
    has_image = any(leaf.is_image for leaf in spec.leaves)
    cnn = CnnConfig(channels=_CHANNELS, image_features=_HIDDEN[0], hidden=_HIDDEN)
    encoder = cnn if has_image else MlpConfig(hidden=_HIDDEN)
    config = PolicyConfig(encoder=encoder, head=DeterministicConfig(bound="tanh"))
    policy = Policy(config, spec, space, seed=integer(seed, "weights"))
    policy.fit_normaliser({**observations, "action": labels})
    rng, batch_size = generator(seed, "batches"), _IMAGE_BATCH if has_image else _BATCH
    is_pad = torch.zeros((batch_size, 1), dtype=torch.bool)

    def draw() -> Batch:
        rows = rng.integers(len(labels), size=batch_size)
        return Batch(
            observations={name: torch.from_numpy(values[rows][:, None]) for name, values in observations.items()},
            actions=torch.from_numpy(labels[rows][:, None]),
            is_pad=is_pad,
        )

    return fit(policy, draw, _NUM_STEPS, OptimiserConfig(learning_rate=_LEARNING_RATE)).ref(0)

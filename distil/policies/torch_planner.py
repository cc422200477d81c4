"""The forward pass in torch, for policies whose encoder or head has no numpy twin.

Legend: N slots, H observation horizon, T action chunk, A action dimension, K noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from distil.nn.imported import naming_class
from distil.policies.restore import policy_of
from distil.policies.spec import PolicyRef
from distil.types import Array


class TorchPlanner:
    """Runs a policy of one network on the CPU, in evaluation mode and without gradients."""

    doubt = None  # one network has none

    def __init__(self, ref: PolicyRef) -> None:
        self._policy = policy_of(ref).eval()
        self.noise_kind: str = self._policy.head.noise_kind
        self.noise_size: int = self._policy.head.noise_size
        self._targets = self._policy.config.targets
        self._windowed = self._policy.config.obs_horizon > 1

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A]: the default ones, or the sample that `noise` [N, K] leads to."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in windows.items()}
        if not self._windowed:
            tensors = {name: value.unsqueeze(1) for name, value in tensors.items()}
        with torch.inference_mode(), naming_class(self._targets):
            actions = self._policy.plan(tensors, None if noise is None else torch.from_numpy(noise))
        out: Array = actions.numpy()
        return out

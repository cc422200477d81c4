"""The forward pass in torch, for policies whose encoder or head has no numpy twin.

Legend: N slots, H observation horizon, T action chunk, A action dimension, K noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from distil.errors import InputError
from distil.nn.imported import naming_class
from distil.policies.restore import policy_of
from distil.policies.spec import PolicyRef
from distil.types import Array


class TorchPlanner:
    """Runs a policy of one network in evaluation mode and without gradients, on the CPU or the GPU.

    Raises:
        InputError: the ref's arrays don't fit its spec, or torch sees no GPU.
    """

    doubt = None  # one network has none

    def __init__(self, ref: PolicyRef, *, on_gpu: bool = False) -> None:
        if on_gpu and not torch.cuda.is_available():
            raise InputError(
                "torch sees no GPU where the policy shall act; install a CUDA build of torch there, or ask for no GPU"
            )
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._policy = policy_of(ref).eval().to(self._device)
        self.noise_kind: str = self._policy.head.noise_kind
        self.noise_size: int = self._policy.head.noise_size
        self._targets = self._policy.config.targets
        self._windowed = self._policy.config.obs_horizon > 1

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A]: the default ones, or the sample that `noise` [N, K] leads to."""
        tensors = {name: self._tensor(np.ascontiguousarray(value)) for name, value in windows.items()}
        if not self._windowed:
            tensors = {name: value.unsqueeze(1) for name, value in tensors.items()}
        with torch.inference_mode(), naming_class(self._targets):
            actions = self._policy.plan(tensors, None if noise is None else self._tensor(noise))
        out: Array = actions.cpu().numpy()
        return out

    def _tensor(self, values: Array) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)

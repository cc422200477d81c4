"""What MLflow loads a registered policy with: its `loader_module`. The policy is safetensors and JSON; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from distil.errors import InputError
from distil.policies.checkpoint import load_policy_ref
from distil.policies.predict import Predictor
from distil.types import Array


class PyfuncPolicy:
    """A policy as MLflow calls it.

    Each call begins new episodes: a policy with an observation horizon or action chunk sees the given observation as the first.

    Args:
        predictor: the policy.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Array:
        """Return the default actions [N, ...] for a batch of N observations.

        Args:
            model_input: an array [N, ...]; or leaf name -> array, where the observation has several parts.
            params: none is used; MLflow passes it.

        Raises:
            InputError: the observations are not those of the policy.
        """
        spec = self._predictor.observation
        leaves = model_input if isinstance(model_input, Mapping) else {spec.leaves[0].name: model_input}
        if missing := [leaf.name for leaf in spec.leaves if leaf.name not in leaves]:
            raise InputError(f"the policy also observes {', '.join(missing)}: give an array for each, by name")
        arrays = {leaf.name: np.asarray(leaves[leaf.name], dtype=leaf.dtype) for leaf in spec.leaves}
        for leaf in spec.leaves:
            if arrays[leaf.name].shape[1:] != leaf.shape:
                raise InputError(
                    f"observation {leaf.name} has shape {arrays[leaf.name].shape}, the policy takes [N, {leaf.shape}]"
                )
        self._predictor.reset()
        return np.asarray(self._predictor.predict(spec.unflatten(arrays)))


def _load_pyfunc(path: str) -> PyfuncPolicy:
    """Return the policy in a folder; called by MLflow. A policy of imported classes is refused: a file must not choose code."""
    return PyfuncPolicy(Predictor(load_policy_ref(path)))

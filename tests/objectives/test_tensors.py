from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distil.objectives.tensors import to_torch
from distil.types import Batch


@dataclass(frozen=True, kw_only=True)
class Extended(Batch):
    """A batch with fields of its own."""

    scores: Any
    named: Any


def test_every_field_becomes_a_tensor_and_the_class_stays() -> None:
    """CORRECTNESS 42."""
    actions = np.arange(4, dtype="f4").reshape(2, 1, 2)
    batch = Extended(
        observations={"a": np.ones((2, 1, 3), "f4"), "b": np.zeros((2, 1), np.int64)},
        actions=actions,
        is_pad=np.zeros((2, 1), bool),
        weights=None,
        scores=np.ones(2, "f4"),
        named={"x": np.ones(2, "f4")},
    )
    found = to_torch(batch, torch.device("cpu"))
    assert type(found) is Extended
    assert found.weights is None
    assert {name: value.dtype for name, value in found.observations.items()} == {"a": torch.float32, "b": torch.int64}
    assert all(isinstance(value, torch.Tensor) for value in (found.actions, found.is_pad, found.scores, found.named["x"]))


def test_on_a_cpu_memory_is_shared() -> None:
    actions = np.zeros((2, 1, 2), "f4")
    batch = Batch(observations={}, actions=actions, is_pad=np.zeros((2, 1), bool), weights=None)
    found = to_torch(batch, torch.device("cpu"))
    actions += 1
    assert found.actions.sum() == 4

"""Batches as tensors on a device."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch

from distil.types import Batch

B = TypeVar("B", bound=Batch)


def to_torch(batch: B, device: torch.device) -> B:
    """Return a numpy batch, with its class and all its fields, as tensors on `device`.

    On a CPU the tensors share memory with the arrays; copies to a GPU go through pinned memory.
    """
    shared = device.type == "cpu"

    def move(value: Any) -> Any:
        if isinstance(value, np.ndarray):  # first: asking for a Mapping takes longer than the conversion
            tensor = torch.from_numpy(value)
            return tensor if shared else tensor.pin_memory().to(device, non_blocking=True)
        return None if value is None else {name: move(item) for name, item in value.items()}

    return type(batch)(**{name: move(value) for name, value in vars(batch).items()})

"""The rank of this process in its group, and the three collectives that a learner needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Rank and size of the group; above one, torch.distributed's process group must exist."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = _CPU

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sums of `values` over the ranks: bit for bit the same on each, so that all ranks decide alike."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor]

    def mean_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, in place: one collective on all of them, flattened."""
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self.world_size
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])

    def of_first(self, value: int) -> int:
        """Return rank 0's `value`."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.int64, device=self.device)
        torch.distributed.broadcast(tensor, src=0)
        return int(tensor)


ALONE = Ranks()

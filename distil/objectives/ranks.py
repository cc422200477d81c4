"""The rank of this process in its group, and the collectives that a learner needs."""

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

    def copy_first_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by rank 0's, in place."""
        if self.world_size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def normal(self, num: int, size: int, generator: torch.Generator, num_parts: int = 1) -> torch.Tensor:
        """Return standard normal noise for the rows of this rank, [num, size]: what one rank alone would draw for them.

        Args:
            num: rows of this rank.
            size: numbers a row.
            generator: in the same state on all ranks.
            num_parts: the rows are slices of so many global batches, one after another and of equal size.
        """
        noise = torch.randn(num * self.world_size, size, generator=generator, device=self.device)
        if self.world_size == 1:
            return noise
        return noise.view(num_parts, self.world_size, num // num_parts, size)[:, self.rank].reshape(num, size)

    def gathered(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of all ranks, which have equally many: the global batch that `rows` are a slice of. No gradients."""
        if self.world_size == 1:
            return rows
        rows = rows.detach().contiguous()
        parts = [torch.empty_like(rows) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, rows)
        return torch.cat(parts)

    def of_first(self, value: int) -> int:
        """Return rank 0's `value`."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.int64, device=self.device)
        torch.distributed.broadcast(tensor, src=0)
        return int(tensor)


ALONE = Ranks()

"""Random numbers for the rows of a rank: what one rank alone would draw for them, however many ranks there are.

Legend: B rows of this rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class RowGenerator(torch.Generator):
    """A generator in the same state on all ranks, which knows whose rows it draws for."""

    rank: int = 0
    world_size: int = 1


def normal(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Return standard normal numbers, [B, ...]."""
    return _own(torch.randn, shape, generator, device)


def uniform(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Return numbers that are uniform in [0, 1), [B, ...]."""
    return _own(torch.rand, shape, generator, device)


def integers(num: int, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Return integers from 0 to num - 1, [B, ...] int64."""
    return _own(lambda size, **where: torch.randint(num, size, **where), shape, generator, device)


def _drawn(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Draw for all ranks, whose slices of a global batch are equally long, and keep this rank's."""
    where: dict[str, Any] = {"generator": generator, "device": device}
    if not isinstance(generator, RowGenerator) or generator.world_size == 1:
        return draw(tuple(shape), **where)
    num, rank = shape[0], generator.rank
    return draw((num * generator.world_size, *shape[1:]), **where)[rank * num : (rank + 1) * num]


_own: Callable[..., Tensor] = _drawn


def keep_from_compilers() -> None:
    """Let functions that torch compiles call these draws as they are: a compiler knows no generator but torch's own.

    Call it before compiling. It isn't done on import, as it loads the compiler, in half a second.
    """
    global _own
    _own = torch.compiler.disable(_drawn)  # type: ignore[no-untyped-call]

"""Random values drawn ahead in blocks, one stream per slot, so that a step costs one gather for all slots.

An episode's values depend on its seed alone: not on its slot, the number of slots, or what other slots do.

Legend: N slots, S steps in a block.

             block of slot 0           block of slot 1
    rows   | . . . . x . . . . . . . | . . . . . . . . x . . |   take() returns [N, ...]: each slot's x,
                     ^ used[0]                         ^ used[1]   and moves each x one step to the right
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distil import seeding

STEPS = 128  # S, unless a step takes much memory


class SlotDraws:
    """Blocks of random values, one stream per slot.

    Args:
        draw: generator -> the next block of a stream, [S, ...]; always the same shape and type.
        num_slots: N; `begin` adds slots where there are fewer.
        names: of the stream below an episode's seed, see `seeding.generator`.
        idle: value of the slots in which no episode has begun.
    """

    def __init__(
        self, draw: Callable[[np.random.Generator], NDArray[Any]], num_slots: int, *names: str, idle: float = 0
    ) -> None:
        block = draw(seeding.generator(0, *names, "shape"))
        self._draw, self._names, self._idle, self._steps = draw, names, idle, len(block)
        self._blocks = np.empty((0, *block.shape), block.dtype)  # [N, S, ...]
        self._used = np.empty(0, np.int64)  # [N] steps of the block
        self._generators: list[np.random.Generator | None] = []
        self._until_refill = 0  # steps for which no slot can run out
        self._grow(num_slots)

    def __len__(self) -> int:
        return len(self._used)

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of the episode with `seed` in a slot."""
        if slot >= len(self):
            self._grow(slot + 1)
        self._generators[slot] = seeding.generator(seed, *self._names)
        self._fill(slot)

    def take(self, slots: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Return the current values [N, ...]. Only the streams of `slots` (a mask [N]; None: all) advance."""
        if self._until_refill <= 0:
            for slot in np.flatnonzero(self._used >= self._steps):
                self._fill(int(slot))
            self._until_refill = self._steps - int(self._used.max(initial=0))
        out: NDArray[Any] = self._rows.take(self._start + self._used, axis=0)
        self._used += 1 if slots is None else slots
        self._until_refill -= 1
        return out

    def _fill(self, slot: int) -> None:
        generator = self._generators[slot]
        if generator is not None:
            self._blocks[slot] = self._draw(generator)
        self._used[slot] = 0

    def _grow(self, num_slots: int) -> None:
        num = num_slots - len(self)
        idle = np.full((num, *self._blocks.shape[1:]), self._idle, self._blocks.dtype)
        self._blocks = np.concatenate([self._blocks, idle])
        self._used = np.concatenate([self._used, np.zeros(num, np.int64)])
        self._generators += [None] * num
        self._rows = self._blocks.reshape(-1, *self._blocks.shape[2:])  # [N * S, ...], the same memory
        self._start = np.arange(num_slots) * self._steps

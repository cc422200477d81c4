"""Per-slot noise for stochastic policies: an episode's draws depend on its seed and on nothing else.

Legend: N slots, S steps drawn ahead, K numbers a step.
"""

from __future__ import annotations

import numpy as np

from distil import seeding
from distil.types import Array

_BLOCK_NUMBERS = 4096
_LONGEST_BLOCK = 128


class SlotNoise:
    """A stream a slot, drawn ahead in blocks, so that a step costs one gather for all slots.

    Args:
        num_slots: N.
        size: K.
        kind: "normal" (standard) or "uniform" in [0, 1).
    """

    def __init__(self, num_slots: int, size: int, kind: str) -> None:
        assert kind in ("normal", "uniform")
        self._normal = kind == "normal"
        self._steps = max(1, min(_LONGEST_BLOCK, _BLOCK_NUMBERS // size))
        self._blocks = np.zeros((num_slots, self._steps, size), np.float32)
        self._rows = self._blocks.reshape(num_slots * self._steps, size)
        self._start = np.arange(num_slots) * self._steps
        self._used = np.zeros(num_slots, np.int64)
        self._until_refill = 0  # steps for which no slot can run out
        self._generators = [seeding.generator(0, "policy", "idle")] * num_slots
        for slot in range(num_slots):
            self.begin(slot, 0)

    def begin(self, slot: int, seed: int) -> None:
        """Start the stream of the episode with `seed` in a slot."""
        self._generators[slot] = seeding.generator(seed, "policy", "noise")
        self._fill(slot)

    def take(self, slots: Array | None = None) -> Array:
        """Return noise [N, K]. Only the streams of `slots` (a mask [N]; None: all) move on."""
        if self._until_refill <= 0:
            for slot in np.flatnonzero(self._used >= self._steps):
                self._fill(int(slot))
            self._until_refill = self._steps - int(self._used.max())
        out: Array = self._rows.take(self._start + self._used, axis=0)
        self._used += 1 if slots is None else slots
        self._until_refill -= 1
        return out

    def _fill(self, slot: int) -> None:
        generator, block = self._generators[slot], self._blocks[slot]
        if self._normal:
            generator.standard_normal(dtype=np.float32, out=block)
        else:
            generator.random(dtype=np.float32, out=block)
        self._used[slot] = 0

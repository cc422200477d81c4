"""Per-slot noise for stochastic policies: an episode's draws depend on its seed alone.

Legend: S steps drawn ahead, K numbers a step.
"""

from __future__ import annotations

import numpy as np

from distil.draws import STEPS, SlotDraws
from distil.types import Array

_BLOCK_NUMBERS = 4096


def slot_noise(num_slots: int, size: int, kind: str) -> SlotDraws:
    """Return the noise of the policy in each slot; slots start with the stream of seed 0.

    Args:
        num_slots: number of slots.
        size: K.
        kind: "normal" (standard) or "uniform" in [0, 1), both float32.
    """
    assert kind in ("normal", "uniform")
    shape = (max(1, min(STEPS, _BLOCK_NUMBERS // size)), size)  # [S, K]

    def draw(generator: np.random.Generator) -> Array:
        if kind == "normal":
            return generator.standard_normal(shape, np.float32)
        return generator.random(shape, np.float32)

    draws = SlotDraws(draw, num_slots, "policy", "noise")
    for slot in range(num_slots):
        draws.begin(slot, 0)
    return draws

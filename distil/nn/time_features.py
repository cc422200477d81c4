"""Numbers in [0, 1], such as times, as sines and cosines of many frequencies (Vaswani et al., 2017, section 3.5; no torch)."""

from __future__ import annotations

import math
from collections.abc import Sequence

TIME_FEATURES = 32  # of one number
_FASTEST = 64.0  # radians from 0 to 1, of the fastest of them; the slowest has 1


def frequencies() -> list[float]:
    """Return the frequencies of the sines, and of the cosines, in radians: equal factors apart."""
    half = TIME_FEATURES // 2
    return [math.exp(math.log(_FASTEST) * i / (half - 1)) for i in range(half)]


def time_features(scalars: Sequence[float]) -> list[float]:
    """Return the features of each number, one after another."""
    return [f(scalar * w) for scalar in scalars for f in (math.sin, math.cos) for w in frequencies()]

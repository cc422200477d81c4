"""Confidence intervals with their nominal coverage, even for a few values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from distil.types import Array


def mean_interval(values: Array | Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's t interval of the mean; None for fewer than two values, which have no spread.

    A nominal 95 % percentile bootstrap of 3, 5 or 10 normal values covers 75, 84 or 90 %; this interval covers 95 %
    (tests/test_stats.py). Strongly skewed values need a sample of several tens.

    Args:
        values: [N], independent of each other.
        confidence: the probability that the interval covers the true mean.
    """
    array = np.asarray(values, np.float64)
    if array.size < 2:
        return None
    from scipy.special import stdtrit  # scipy.stats takes 0.5 s to import

    mean = float(array.mean())
    half = float(stdtrit(array.size - 1, (1 + confidence) / 2) * array.std(ddof=1) / math.sqrt(array.size))
    return mean - half, mean + half

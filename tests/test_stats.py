"""CORRECTNESS 41: intervals have their nominal coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distil.stats import mean_interval, ratio_low

NUM_TRIALS = 4000


@pytest.mark.parametrize("num", [3, 5, 10, 30])
def test_the_interval_covers_95_percent(num: int) -> None:
    """CORRECTNESS 41: within 3 binomial standard deviations, .01. The percentile bootstrap covers .75, .84, .90, .94."""
    values = np.random.default_rng(num).normal(7.0, 3.0, (NUM_TRIALS, num))
    covered = [low <= 7.0 <= high for low, high in map(mean_interval, values)]
    assert abs(np.mean(covered) - 0.95) < 0.0104


def test_crashes_among_good_episodes_are_covered_at_50() -> None:
    """A common distribution of returns: a tenth of the episodes fails. It is skewed, so coverage is slightly below 95 %."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random((NUM_TRIALS, 50)) < 0.1, -100.0, 250.0) + rng.normal(0, 20, (NUM_TRIALS, 50))
    covered = [low <= 215.0 <= high for low, high in map(mean_interval, values)]
    assert 0.91 < np.mean(covered) < 0.96


def test_it_is_students_t() -> None:
    values = [1.0, 2.0, 4.0, 8.5]
    expected = stats.t.interval(0.9, 3, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values, confidence=0.9) == pytest.approx(expected)


def test_no_interval_of_one_value() -> None:
    assert mean_interval([3.0]) is None
    assert mean_interval([]) is None


def test_equal_values_have_an_interval_of_zero_width() -> None:
    assert mean_interval([500.0] * 5) == (500.0, 500.0)


@pytest.mark.parametrize(("num", "confidence"), [(5, 0.9), (20, 0.95), (50, 0.99)])
def test_the_bound_of_a_ratio_is_below_it_as_often_as_stated(num: int, confidence: float) -> None:
    """CORRECTNESS 41: both means are uncertain, and the pairs are correlated."""
    rng = np.random.default_rng(num)
    seeds = rng.normal(0, 0.5, (NUM_TRIALS, num))
    above, below = 1.6 + seeds + rng.normal(0, 0.3, seeds.shape), 2.0 + seeds + rng.normal(0, 0.2, seeds.shape)
    bounds = [ratio_low(one, two, confidence) for one, two in zip(above, below, strict=True)]
    covered = np.mean([bound is not None and bound <= 0.8 for bound in bounds])
    assert abs(covered - confidence) < 3.5 * np.sqrt(confidence * (1 - confidence) / NUM_TRIALS)


def test_the_bound_of_a_ratio_without_margin_spread_or_denominator() -> None:
    rng = np.random.default_rng(0)
    above, below = rng.normal(2, 1, 20), rng.normal(3, 1, 20)
    assert ratio_low(above, below, 0.5) == pytest.approx(above.mean() / below.mean())
    assert ratio_low(np.full(5, 2.0), np.full(5, 4.0), 0.99) == pytest.approx(0.5)
    assert ratio_low(above, below - 3.0, 0.95) is None  # it may be zero
    assert ratio_low(above, -below, 0.95) is None

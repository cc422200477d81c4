"""CORRECTNESS 41: intervals have their nominal coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distil.stats import (
    Improvement,
    adjusted,
    improvement,
    iqm,
    mean_interval,
    paired_difference,
    pareto_front,
    ratio_low,
    unpaired_difference,
)

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


def test_the_iqm_is_the_mean_of_the_middle_half() -> None:
    assert iqm([-1000.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9000.0]) == pytest.approx(3.5)
    assert iqm([7.0]) == 7.0


def test_the_probability_of_improvement_counts_equal_scores_half() -> None:
    assert improvement([3.0, 4.0], [1.0, 2.0, 3.0]).probability == pytest.approx(5.5 / 6)
    assert improvement([500.0] * 3, [500.0] * 3) == Improvement(probability=0.5, p_value=1.0)
    assert improvement([6.0, 7, 8, 9, 10], [1.0, 2, 3, 4, -9000]).p_value == pytest.approx(2 / 252)  # exact: 5 of 10


@pytest.mark.parametrize(("num_methods", "num_seeds"), [(2, 5), (3, 5), (3, 10), (7, 10), (24, 10)])
def test_the_best_of_equal_methods_is_called_better_in_5_percent_at_most(num_methods: int, num_seeds: int) -> None:
    """CORRECTNESS 41: as a comparison does it. Without the factor, the best of 24 is called better in 24 % of cases."""
    rng, num, alarms = np.random.default_rng(num_methods), 150, 0
    for _ in range(num):
        scores = rng.normal(size=(num_methods, num_seeds))
        best, *others = scores[np.argsort(-scores.mean(axis=1))]
        alarms += min(adjusted([improvement(best, other).p_value for other in others])) < 0.05
    assert alarms / num < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / num)


def test_adjusted_p_values() -> None:
    assert adjusted([0.03]) == [0.03]  # of two methods
    assert adjusted([0.01, 0.02]) == pytest.approx([0.03, 0.03])
    assert adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert adjusted([]) == []


def test_paired_differences_see_what_the_spread_of_the_seeds_hides() -> None:
    base = np.array([0.0, 100.0, -80.0, 40.0, 250.0, -30.0, 10.0, 60.0])
    ours = base + np.array([4.0, 5.0, 6.0, 5.0, 4.5, 5.5, 5.2, 4.8])
    paired, unpaired = paired_difference(ours, base), unpaired_difference(ours, base)
    assert paired.mean == unpaired.mean == pytest.approx(5.0)
    assert paired.low > 4 > unpaired.low
    assert paired.permutation_p == pytest.approx(2 / 2**8)  # all of one sign: exact
    expected = stats.ttest_ind(ours, base, equal_var=False).confidence_interval()
    assert (unpaired.low, unpaired.high) == pytest.approx(tuple(expected))
    assert (unpaired.permutation_p, unpaired.num_pairs) == (None, 0)


def test_differences_without_spread() -> None:
    assert paired_difference([500.0] * 5, [500.0] * 5).permutation_p == 1.0
    same = unpaired_difference([500.0] * 5, [500.0] * 3)
    assert (same.low, same.high) == (0.0, 0.0)


def test_the_pareto_front_has_what_no_other_beats_in_both() -> None:
    scores, costs = [10.0, 5.0, 9.0, 10.0, 20.0, 4.0], [100.0, 50.0, 200.0, 300.0, 400.0, 50.0]
    assert pareto_front(scores, costs) == [1, 0, 4]
    assert pareto_front([1.0, 1.0, 0.5], [10.0, 10.0, 10.0]) == [0, 1]  # equal ones do not beat each other
    assert pareto_front([], []) == []

"""Intervals with their nominal coverage even for a few values, and comparisons of two samples of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def ratio_low(numerators: Array, denominators: Array, confidence: float) -> float | None:
    """Return a one-sided lower bound of E[numerator] / E[denominator]: Fieller's (1954), with Student's t.

    The bound is the smallest ratio r for which a t test of the differences numerator - r * denominator does not rule out that
    their mean is zero. Both means are uncertain, and a pair may be correlated. Exact for normal pairs.

    Args:
        numerators: [N], N >= 2.
        denominators: [N], of the same N observations; their mean is positive.
        confidence: the probability that the true ratio is at least the bound; 0.5 gives the ratio of the means.

    Returns:
        None if the mean of the denominators is not positive at this confidence: then there is no bound.
    """
    from scipy.special import stdtrit

    num = len(numerators)
    above, below = float(np.mean(numerators)), float(np.mean(denominators))
    factor = float(stdtrit(num - 1, confidence)) ** 2 / num
    (above_var, covariance), (_, below_var) = factor * np.cov(numerators, denominators)
    # (above - r below)^2 = above_var - 2 r covariance + r^2 below_var
    square, half, constant = below**2 - below_var, above * below - covariance, above**2 - above_var
    if below <= 0 or not square > 0:
        return None
    return float((half - math.sqrt(max(0.0, half**2 - square * constant))) / square)


def iqm(values: Array | Sequence[float]) -> float:
    """Return the interquartile mean: the mean of the middle half (Agarwal et al., arXiv:2108.13264).

    Args:
        values: [N], N >= 1.
    """
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(values, np.float64), 0.25))


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """Whether a run of one method is better than a run of another one."""

    probability: float  # that one of our scores is above one of theirs; equal scores count half
    p_value: float  # two-sided, of the test that the probability is a half


def improvement(ours: Array | Sequence[float], theirs: Array | Sequence[float]) -> Improvement:
    """Return the probability of improvement (Agarwal et al., arXiv:2108.13264) with the test of Mann and Whitney.

    The probability is the U statistic divided by the number of pairs. The test is exact for few scores without ties. It
    withstands outliers, but needs four scores of each to reach 0.05: with three, the smallest p is 0.1.

    Args:
        ours: [N], N >= 1.
        theirs: [M], M >= 1.
    """
    from scipy.stats import mannwhitneyu

    if np.ptp([*ours, *theirs]) == 0:
        return Improvement(probability=0.5, p_value=1.0)
    found = mannwhitneyu(ours, theirs)
    return Improvement(probability=float(found.statistic / (len(ours) * len(theirs))), p_value=float(found.pvalue))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of the best of several methods against each other one, adjusted for their number and for that choice.

    Benjamini and Hochberg (1995), times half the number of methods: there are that many times as many pairs, from which the
    choice of the best takes the most favourable ones. If all methods are equal, one is called better in at most 5 % of cases
    (tests/test_stats.py).
    """
    from scipy.stats import false_discovery_control

    if not p_values:
        return []
    factor = (len(p_values) + 1) / 2
    return [min(1.0, factor * float(p_value)) for p_value in false_discovery_control(p_values)]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much higher the mean of one sample is than that of another one."""

    mean: float
    low: float  # 95 % interval, Student's t
    high: float
    num_pairs: int = 0  # 0: not paired
    permutation_p: float | None = None  # two-sided, of the sign-flip test of pairs; None: not paired


def paired_difference(ours: Array | Sequence[float], theirs: Array | Sequence[float]) -> Difference:
    """Return the difference of the means of N pairs, such as scores with the same root seeds.

    The sign-flip test is exact up to N = 13, and its smallest p is 2 / 2^N: five pairs cannot reach 0.05.

    Args:
        ours: [N], N >= 2.
        theirs: [N].
    """
    from scipy.stats import permutation_test

    each = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    low, high = mean_interval(each) or (math.nan, math.nan)
    flipped = permutation_test(
        (each,), np.mean, permutation_type="samples", vectorized=True, n_resamples=9999, rng=np.random.default_rng(0)
    )
    mean, p_value = float(each.mean()), float(flipped.pvalue)
    return Difference(mean=mean, low=low, high=high, num_pairs=len(each), permutation_p=p_value)


def unpaired_difference(ours: Array | Sequence[float], theirs: Array | Sequence[float]) -> Difference:
    """Return the difference of the means of two independent samples, with Welch's t interval.

    Args:
        ours: [N], N >= 2.
        theirs: [M], M >= 2.
    """
    from scipy.special import stdtrit

    parts = [float(np.var(values, ddof=1)) / len(values) for values in (ours, theirs)]
    shares = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (ours, theirs), strict=True))
    freedom = sum(parts) ** 2 / shares if shares else 1.0
    mean = float(np.mean(ours) - np.mean(theirs))
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(sum(parts))
    return Difference(mean=mean, low=mean - half, high=mean + half)


def pareto_front(scores: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Return the indices of the points that no other one beats in both, the cheapest first.

    A point is beaten by one with at least its score at most its cost, unless the two are equal.

    Args:
        scores: [N], larger is better.
        costs: [N], smaller is better.
    """
    found: list[int] = []
    for index in sorted(range(len(scores)), key=lambda index: (costs[index], -scores[index])):
        point = scores[index], costs[index]
        if not found or point[0] > scores[found[-1]] or point == (scores[found[-1]], costs[found[-1]]):
            found.append(index)
    return found

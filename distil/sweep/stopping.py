"""Which trials a scheduler stops: a pure function of the scores so far, in the order in which they came.

Ray Tune's schedulers keep the same rules in memory and save them as pickles. Here, the sweep's journal is the memory: a resumed
sweep reads it, and decides as an undisturbed one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distil.sweep.config import AshaConfig, MedianConfig, SweepConfig

_CLOSE = 1e-9  # fractions are sums of steps


@dataclass(frozen=True, kw_only=True)
class Score:
    """One look at a trial."""

    trial: str
    family: str
    fraction: float  # of the trial's own budget
    value: float  # larger is better


def goes_on(sweep: SweepConfig, earlier: Sequence[Score], now: Score) -> bool:
    """Return whether a trial continues after a score; `earlier` has all scores before it, of all trials."""
    family = [score for score in earlier if score.family == now.family]
    scheduler = sweep.scheduler
    if isinstance(scheduler, AshaConfig):
        return _above_rung(scheduler, family, now)
    if isinstance(scheduler, MedianConfig):
        return _above_median(scheduler, family, now)
    return True


def rungs(config: AshaConfig) -> list[float]:
    """Return the fractions at which ASHA decides, below the whole budget."""
    found, rung = [], config.first
    while rung < 1 - _CLOSE:
        found.append(rung)
        rung *= config.factor
    return found


def _above_rung(config: AshaConfig, family: Sequence[Score], now: Score) -> bool:
    """Algorithm 2 of the paper, without pauses: a trial continues if it is in the top 1 / factor of those at its rung so far.

    A score counts for the highest rung that it has reached, and only the first one there.
    """
    rung = _rung(config, now.fraction)
    if rung is None or any(score.trial == now.trial and _rung(config, score.fraction) == rung for score in family):
        return True
    at_rung = dict[str, float]()
    for score in family:
        if _rung(config, score.fraction) == rung:
            at_rung.setdefault(score.trial, score.value)
    if not at_rung:
        return True
    return now.value >= float(np.percentile(list(at_rung.values()), (1 - 1 / config.factor) * 100))


def _rung(config: AshaConfig, fraction: float) -> float | None:
    return max((rung for rung in rungs(config) if fraction >= rung - _CLOSE), default=None) if fraction < 1 - _CLOSE else None


def _above_median(config: MedianConfig, family: Sequence[Score], now: Score) -> bool:
    """Section 3.1.2 of the paper, at equal fractions of the trials' own budgets."""
    if not config.first - _CLOSE <= now.fraction < 1 - _CLOSE:
        return True
    means, best = list[float](), now.value
    for trial in dict.fromkeys(score.trial for score in family):
        scores = [score for score in family if score.trial == trial]
        if trial == now.trial:
            best = max(best, *(score.value for score in scores))
        elif max(score.fraction for score in scores) >= now.fraction - _CLOSE:
            means.append(float(np.mean([score.value for score in scores if score.fraction <= now.fraction + _CLOSE])))
    return len(means) < config.trials or best >= float(np.median(means))

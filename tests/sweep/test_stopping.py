from collections.abc import Sequence

import numpy as np
import pytest
from sweepbed import sweep

from distil.sweep.config import AshaConfig
from distil.sweep.stopping import Score, goes_on, rungs

ASHA, MEDIAN = {"kind": "asha", "first": 0.25, "factor": 2.0}, {"kind": "median", "first": 0.25, "trials": 2}


def at(fraction: float, *values: float, family: str = "bc") -> list[Score]:
    return [Score(trial=f"t{i}", family=family, fraction=fraction, value=value) for i, value in enumerate(values)]


def one(value: float, fraction: float = 0.25, trial: str = "new", family: str = "bc") -> Score:
    return Score(trial=trial, family=family, fraction=fraction, value=value)


def test_rungs_grow_by_the_factor_and_the_end_is_none() -> None:
    assert rungs(AshaConfig(first=0.25, factor=2.0)) == [0.25, 0.5]
    assert rungs(AshaConfig(first=0.1, factor=3.0)) == pytest.approx([0.1, 0.3, 0.9])


def test_without_a_scheduler_everything_continues() -> None:
    assert goes_on(sweep(), at(0.25, 1.0, 1.0, 1.0), one(-100.0))


@pytest.mark.parametrize(("value", "continues"), [(0.4, False), (0.5, True), (0.9, True)])
def test_asha_stops_what_is_in_the_lower_half_of_its_rung(value: float, continues: bool) -> None:
    assert goes_on(sweep(scheduler=ASHA), at(0.25, 0.1, 0.5, 0.8), one(value)) == continues


def test_asha_compares_within_a_family_and_a_rung_only() -> None:
    config = sweep(scheduler=ASHA)
    assert goes_on(config, at(0.25, 0.8, 0.9, family="dagger"), one(0.1))
    assert goes_on(config, at(0.5, 0.8, 0.9), one(0.1))
    assert not goes_on(config, at(0.3, 0.8, 0.9), one(0.1, 0.27))  # both have passed the rung at 0.25


def test_asha_decides_once_at_a_rung_and_never_at_the_end() -> None:
    config, own = sweep(scheduler=ASHA), one(0.7, 0.25)
    assert goes_on(config, [*at(0.25, 0.5), own, *at(0.25, 0.9, 0.95, 0.99)], one(0.1, 0.4))
    assert goes_on(config, at(1.0, 0.8, 0.9), one(0.1, 1.0))


def test_asha_is_the_rule_of_ray_tune() -> None:
    """The same stream of scores through Ray's scheduler leads to the same decisions."""
    from types import SimpleNamespace

    from ray.tune.schedulers import AsyncHyperBandScheduler

    theirs = AsyncHyperBandScheduler(
        "t", metric="m", mode="max", max_t=100, grace_period=25, reduction_factor=2, stop_last_trials=False
    )
    config, rng, seen, stopped = sweep(scheduler=ASHA), np.random.default_rng(0), list[Score](), set[str]()
    trials = {f"t{i}": SimpleNamespace(trial_id=f"t{i}") for i in range(30)}
    for trial in trials.values():
        theirs.on_trial_add(None, trial)
    for percent in (25, 50, 75):
        for name in rng.permutation(list(trials)):
            if name in stopped:
                continue
            score = Score(trial=name, family="bc", fraction=percent / 100, value=float(rng.normal()))
            expected = theirs.on_trial_result(None, trials[name], {"t": percent, "m": score.value}) == "CONTINUE"
            assert goes_on(config, seen, score) == expected
            seen.append(score)
            if not expected:
                stopped.add(name)
    assert 5 < len(stopped) < 29


def test_the_median_rule_compares_the_best_so_far_with_the_others_means() -> None:
    config = sweep(scheduler=MEDIAN)
    others: Sequence[Score] = [*at(0.25, 0.2, 0.6), *at(0.5, 0.4, 1.0)]  # means 0.3 and 0.8: median 0.55
    assert not goes_on(config, others, one(0.5, 0.5))
    assert goes_on(config, others, one(0.6, 0.5))
    assert goes_on(config, [*others, one(0.7, 0.25)], one(0.1, 0.5))  # it was better before
    assert goes_on(config, others[:1], one(-1.0, 0.5))  # too few have come as far
    assert goes_on(config, others, one(-1.0, 0.2))  # too early

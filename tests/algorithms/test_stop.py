"""`algorithm.stop`: a run that stops on its score has reached it, with the stated confidence."""

import numpy as np
import pytest

from distil.algorithms.stop import StopConfig
from distil.plans import RoundReport, Spent
from distil.rollouts.evaluation import EvalResult, score_low

ROUNDS, RUNS, TUNING = 20, 300, 10


def report(**facts):
    return RoundReport(index=3, snapshot=1, policy_version=4, **facts)


@pytest.mark.parametrize(
    ("stop", "last", "ends"),
    [
        ({}, report(score=1.0, score_low=1.0), False),
        ({"wall_s": 10.0}, report(spent=Spent(wall_s=9.9)), False),
        ({"wall_s": 10.0}, report(spent=Spent(wall_s=10.0)), True),
        ({"normalised": 0.9}, report(score=0.99), False),  # no second look: an older version's report, or no bound
        ({"normalised": 0.9}, report(score=0.99, score_low=0.89), False),
        ({"normalised": 0.9}, report(score=0.99, score_low=0.9), True),
    ],
)
def test_it_ends_on_time_and_on_a_confirmed_score(stop, last, ends):
    assert StopConfig(**stop).is_reached(last) == ends


def test_a_run_may_look_as_often_as_it_likes():
    """The chances to be wrong add up to at most what is stated, however many looks there are."""
    looks = [StopConfig(normalised=0.9, confidence=0.8, confirm_episodes=70).confirmation(num) for num in range(1000)]
    assert {(look.target, look.num_episodes) for look in looks} == {(0.9, 70)}
    assert [look.num_before for look in looks[:3]] == [0, 1, 2]
    assert looks[0].confidence == pytest.approx(0.9)
    assert 0.199 < sum(1 - look.confidence for look in looks) <= 0.2
    assert StopConfig().confirmation(0) is None


def normal(true, num, rng):
    return rng.normal(true, 0.3, num)


def failing(true, num, rng):
    """An episode goes as well as the expert's or fails: most tuning episodes show no failure."""
    return np.where(rng.random(num) < true, 1.0, 0.0) + rng.normal(0, 0.03, num)


def result(returns):
    return EvalResult(seeds=tuple(range(len(returns))), returns=returns, lengths=np.ones(len(returns)), successes=None)


def stopped(stop, curve, draw, rng):
    """Return the round after which a run stops whose policies have the true scores `curve`; None: it goes to its end."""
    num, num_looks = stop.confirm_episodes, 0
    expert, random = draw(1.0, num, rng), rng.normal(0, 0.1, num)
    for index, true in enumerate(curve):
        returns, plan, low = draw(true, num, rng), stop.confirmation(num_looks), None
        means = [values[:TUNING].mean() for values in (returns, expert, random)]
        score = (means[0] - means[2]) / (means[1] - means[2])
        if score >= plan.target:
            low, num_looks = score_low(result(returns), result(expert), result(random), plan.confidence), num_looks + 1
        if stop.is_reached(report(score=score, score_low=low, num_looks=num_looks)):
            return index
    return None


@pytest.mark.parametrize("draw", [normal, failing])
def test_it_rarely_stops_too_early(draw):
    """CORRECTNESS 41, 20 rounds slightly below the target: by the mean of 10 episodes alone, 95 % of these runs would stop."""
    rng, stop = np.random.default_rng(0), StopConfig(normalised=0.9)
    ends = [stopped(stop, [0.88] * ROUNDS, draw, rng) for _ in range(RUNS)]
    assert np.mean([end is not None for end in ends]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize(("draw", "episodes"), [(normal, 200), (failing, 60)])
def test_it_stops_when_the_policy_is_as_good_as_the_expert(draw, episodes):
    rng, stop = np.random.default_rng(1), StopConfig(normalised=0.9, confirm_episodes=episodes)
    ends = [stopped(stop, [0.5, 0.8, *[1.0] * (ROUNDS - 2)], draw, rng) for _ in range(RUNS)]
    assert np.mean([end is not None for end in ends]) > 0.9
    assert np.median([end for end in ends if end is not None]) <= 3

import itertools

import pytest

from distil.objectives.optimiser_config import OptimiserConfig, learning_rate


def test_warms_up_then_falls_as_a_half_cosine():
    config = OptimiserConfig(learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate(config, step, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-3
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_a_constant_rate_stays():
    config = OptimiserConfig(learning_rate=0.5, schedule="constant", warmup_steps=0)
    assert {learning_rate(config, step, 7) for step in range(7)} == {0.5}


def test_a_short_plan_warms_up_over_its_first_tenth():
    config = OptimiserConfig(learning_rate=1.0, warmup_steps=1000)
    assert learning_rate(config, 5, 50) == 1.0
    assert learning_rate(config, 0, 1) == 1.0

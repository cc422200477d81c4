"""Learning curves over seeds, and the Pareto front."""

from __future__ import annotations

import pytest
from comparebed import record

from distil.compare.curves import curve_of, front
from distil.compare.methods import group


def method(*tuned, **changes):
    (found,) = group([record("a", seed, 9.0, tuned=values, **changes) for seed, values in enumerate(tuned)], held_out=True)
    return found


def test_a_curve_is_the_mean_over_seeds_with_a_band() -> None:
    curve = curve_of(method((10.0, 20.0, 30.0), (20.0, 30.0, 40.0)), "expert_labels")
    assert curve.x == [1000.0, 2000.0, 3000.0]
    assert curve.y == [15.0, 25.0, 35.0]
    assert curve.low[0] == pytest.approx(15 - 63.53, abs=0.01)  # Student's t of two values
    assert curve_of(method((10.0, 20.0, 30.0)), "expert_labels").low is None


def test_curves_cover_what_all_runs_cover_and_interpolate_between() -> None:
    runs = [record("a", 0, 9.0, tuned=(0.0, 10.0, 20.0), labels=4000.0), record("a", 1, 9.0, tuned=(0.0, 20.0), labels=4500.0)]
    (found,) = group(runs, held_out=True)
    curve = curve_of(found, "expert_labels")
    assert curve.x == [1500.0, 2000.0, 3000.0]  # 1,000 to 3,000 and 1,500 to 3,000
    assert curve.y[1] == pytest.approx((10.0 + 20 / 3) / 2)


def test_no_curve_without_two_points_at_different_costs() -> None:
    assert curve_of(method((10.0,)), "expert_labels") is None
    assert curve_of(method((10.0, 20.0)), "gradient_steps") is None
    assert curve_of(method((10.0, 20.0)), "cpu_s") is None


def test_long_curves_are_thinned() -> None:
    assert len(curve_of(method([float(n) for n in range(500)]), "expert_labels").x) == 60


def test_the_front_has_what_no_other_beats_in_both() -> None:
    runs = [
        record(f"m{i}", 0, score, labels=cost, data__episodes=i)
        for i, (score, cost) in enumerate([(10.0, 100.0), (5.0, 50.0), (9.0, 200.0), (10.0, 300.0), (20.0, 400.0), (4.0, 50.0)])
    ]
    assert [m.mean for m in front(group(runs, held_out=True), "expert_labels")] == [5.0, 10.0, 20.0]

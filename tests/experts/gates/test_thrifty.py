import numpy as np
import pytest
from gatebed import episode, off_by, outcomes, plan_of, policy, snapshot, windows_of

from distil.errors import InputError
from distil.experts.gates.evidence import predicted
from distil.experts.gates.thrifty import ThriftyGateConfig, budget_threshold
from distil.policies.acting import replay

pytestmark = pytest.mark.usefixtures("few")


@pytest.mark.parametrize("budget", [0.1, 0.4])
def test_thriftys_thresholds_keep_its_budget_on_what_they_are_of(tmp_path, budget):
    """Doubt and risk are each above their threshold at this fraction of the states that the policy visited."""
    data, ref = outcomes(tmp_path / "s", ["terminated", "truncated"] * 5), policy(ensemble=3)
    plan = plan_of(ThriftyGateConfig(budget=budget), ref, data, 1)
    novelty, risk = plan.enter
    (calm,) = plan.stay
    windows = windows_of(data)
    values = predicted(risk.predictor, {"obs": windows["obs"][:, 0]})
    for found, threshold in ((replay(ref, windows)[1], novelty.threshold), (values, risk.threshold)):
        assert abs((found > threshold).mean() - budget) < 0.01
    assert calm.predictor is risk.predictor
    assert abs((values > calm.threshold).mean() - 0.5) < 0.01


@pytest.mark.parametrize(
    ("values", "budget", "above"),
    [
        ([0, 0, 0, 0, 0, 0, 1, 1, 1, 1], 0.3, 4),  # all of the tied ones: none would be further off
        ([0, 0, 1, 1, 1, 1, 1, 1, 1, 1], 0.3, 0),
        ([0, 0, 0, 0, 0, 0, 0, 0, 1, 2], 0.2, 2),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 2], 0.2, 1),
        ([1] * 10, 0.2, 0),
        ([0] * 10, 0.9, 10),
        (list(range(10)), 0.5, 5),
    ],
)
def test_a_threshold_among_tied_doubts(values, budget, above):
    """Of choices, doubt is one of a few shares: a plain quantile would often be the largest, and nothing above it."""
    found = budget_threshold(np.array(values, np.float32), budget)
    assert (np.array(values) > found).sum() == above


def test_risk_is_how_near_a_failure_is(tmp_path, fitted):
    """discount ** steps to it: 1 at the step that ends in one, 0 all along an episode that doesn't; labelled or not."""
    data = snapshot(
        tmp_path / "s",
        episode(0, 3, labelled=[0, 1, 0]),
        episode(1, 4, labelled=[0, 0, 0, 0], end="truncated"),
        episode(2, 2),
    )
    plan_of(ThriftyGateConfig(discount=0.5), policy(ensemble=2), data, 1)
    ((observations, targets, high),) = fitted
    assert observations["obs"][:, 0].tolist() == [0, 1, 2, 100, 101, 102, 103, 200, 201]
    np.testing.assert_allclose(targets, [0.25, 0.5, 1, 0, 0, 0, 0, 0.5, 1])
    assert high == 1.0


@pytest.mark.parametrize(
    ("failure", "successes", "failed"),
    [
        ("auto", [None, None, None], [1, 0, 1]),  # nobody says what succeeds: it is what ends early
        ("auto", [True, False, True], [0, 1, 0]),
        ("auto", [True, None, True], [1, 0, 1]),  # not of all
        ("terminated", [True, False, True], [1, 0, 1]),
        ("unsuccessful", [True, False, False], [0, 1, 1]),
    ],
)
def test_what_a_failure_is(tmp_path, fitted, failure, successes, failed):
    ends = ["terminated", "truncated", "terminated"]
    data = outcomes(tmp_path / "s", ends, lengths=[1, 1, 1], successes=successes)
    plan_of(ThriftyGateConfig(failure=failure), policy(ensemble=2), data, 1)
    assert fitted[0][1].tolist() == failed


@pytest.mark.parametrize(("end", "discount"), [("terminated", 0.99), ("truncated", 0.99), ("terminated", 1e-9)])
def test_outcomes_of_one_kind_tell_nothing_about_risk(tmp_path, fitted, end, discount):
    """Nor do they where the discount makes early steps' risk vanish."""
    plan = plan_of(ThriftyGateConfig(discount=discount), policy(ensemble=2), outcomes(tmp_path / "s", [end] * 3), 1)
    assert not fitted
    assert (len(plan.enter), plan.stay) == (1, ())
    assert plan.enter[0].predictor is None


def test_thrifty_gives_back_at_the_mean_discrepancy_by_default(tmp_path):
    ref = policy(ensemble=2)
    blank = snapshot(tmp_path / "blank", episode(0, 8))
    labels = off_by(np.arange(8) / 8, blank, ref)
    data = snapshot(tmp_path / "s", episode(0, 8, labels=labels))
    assert plan_of(ThriftyGateConfig(), ref, data, 1).leave == pytest.approx(3.5 / 8, abs=1e-5)
    assert plan_of(ThriftyGateConfig(leave=0.01), ref, data, 1).leave == 0.01


def test_what_thrifty_cannot_know_is_bad_input(tmp_path):
    data = outcomes(tmp_path / "s", ["terminated", "truncated"], successes=[True, None])
    with pytest.raises(
        InputError, match=r"failure=unsuccessful: the environment does not report success; set it to terminated"
    ):
        plan_of(ThriftyGateConfig(failure="unsuccessful"), policy(ensemble=2), data, 1)
    with pytest.raises(InputError, match=r"set policy\.ensemble=5"):
        plan_of(ThriftyGateConfig(), policy(), data, 1)

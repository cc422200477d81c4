import pickle

import numpy as np
import pytest
from gatebed import BOX, CHOICE, VECTOR, episode, leaf, policy, situation, snapshot

from distil.errors import InputError
from distil.experts.gates.config import (
    EnsembleGateConfig,
    HumanGateConfig,
    ImportIntervenerConfig,
    LazyGateConfig,
    SafeGateConfig,
    ThriftyGateConfig,
)
from distil.experts.gates.switch import Signal, SwitchPlan
from distil.policies.acting import acting, replay
from distil.rollouts import gating, regressor
from distil.rollouts.gating import predicted, prepare
from distil.store import Sampler


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(regressor, "_NUM_STEPS", 20)


@pytest.fixture
def fitted(monkeypatch):
    """What the regressors were fitted to: (observations, targets, high)."""
    seen, fit = [], gating.fit_regressor

    def spy(observations, targets, high, spec, seed):
        seen.append(({name: np.array(values) for name, values in observations.items()}, np.array(targets), high))
        return fit(observations, targets, high, spec, seed)

    monkeypatch.setattr(gating, "fit_regressor", spy)
    return seen


def windows_of(data, horizon=1):
    (batch,) = Sampler(data, obs_horizon=horizon, every=True).scan(10**6)
    return dict(batch.observations)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("action", [BOX, CHOICE], ids=["box", "choice"])
def test_replay_says_what_the_policy_would_do_at_each_visited_state(tmp_path, members, horizon, chunk, action):
    """Where it plans anew at every step: as it acted then, with the history that it had, and with its doubt."""
    ref = policy(action=action, obs_horizon=horizon, chunk=chunk, execute=1, ensemble=members)
    queueing = policy(action=action, obs_horizon=horizon, chunk=chunk, ensemble=members)  # the same weights
    data = snapshot(tmp_path / "s", episode(0, 300, action=action), episode(1, 5, action=action), action=action)
    windows = windows_of(data, horizon)
    actions, doubt = replay(queueing, windows)
    if members > 1:
        np.testing.assert_allclose(doubt, replay(ref, windows)[1], atol=1e-6)
    else:
        assert doubt is None
    done, found, doubted = 0, acting(ref, 1), []
    for number in (0, 1):
        whole = data.episode(number)
        found.begin(0, number)
        for step in range(whole.length):
            here = found.act({"obs": whole.observations["obs"][step][None]})[0]
            np.testing.assert_allclose(actions[done], here, atol=1e-5)
            doubted.append(0.0 if found.doubt is None else found.doubt[0])
            done += 1
    assert done == len(actions) == 305
    if members > 1:
        np.testing.assert_allclose(doubt, doubted, atol=1e-6)
        assert (doubt > 0).any()


def off_by(distance, data, ref):
    """Labels that are so far, in half ranges, from what the policy does."""
    actions, _ = replay(ref, windows_of(data))
    centre = np.array([0, 5], np.float32)
    towards = np.where(actions > centre, -1, 1)
    return (actions + towards * np.reshape(distance, (-1, 1)) * np.array([2, 5])).astype(np.float32)


@pytest.mark.parametrize(
    "config", [SafeGateConfig(threshold=0.3), LazyGateConfig(threshold=0.3, leave=0.25)], ids=["safe", "lazy"]
)
def test_safe_and_lazy_learn_how_far_the_policy_is_from_the_labels(tmp_path, fitted, config):
    """From all labelled steps, no matter who acted, and from no other."""
    ref = policy()
    blank = snapshot(tmp_path / "blank", episode(0, 6), episode(1, 4))
    distances = np.arange(10) / 16
    labels = off_by(distances, blank, ref)
    marks = [1, 0, 1, 1, 0, 1]
    data = snapshot(
        tmp_path / "s",
        episode(0, 6, labels=labels[:6] * np.array(marks)[:, None].astype(np.float32), labelled=marks, by_policy=False),
        episode(1, 4, labels=labels[6:]),
        episode(2, 3, labelled=[0, 0, 0]),
    )
    plan = prepare(config, ref, data, seed=3)
    ((observations, targets, high),) = fitted
    chosen = [0, 2, 3, 5, 6, 7, 8, 9]
    assert observations["obs"][:, 0].tolist() == [0, 2, 3, 5, 100, 101, 102, 103]
    np.testing.assert_allclose(targets, distances[chosen], atol=1e-5)
    assert high == 2.0  # the ends of a range
    assert (plan.leave, plan.stay, plan.labels_all, plan.veto) == (getattr(config, "leave", None), (), False, None)
    assert [signal.threshold for signal in plan.enter] == [0.3]


def test_ensemble_and_human_are_fitted_to_nothing(tmp_path, fitted):
    data, ref = snapshot(tmp_path / "s", episode(0, 3)), policy(ensemble=2)
    assert prepare(EnsembleGateConfig(doubt=0.2), ref, data, 0) == SwitchPlan(enter=(Signal(threshold=0.2),))
    strict = prepare(EnsembleGateConfig(doubt=0.2, discrepancy=0.1), ref, data, 0)
    assert strict == SwitchPlan(enter=(Signal(threshold=0.2),), ask_all=True, veto=0.1)
    assert strict.labels_all
    human = HumanGateConfig(intervener=ImportIntervenerConfig(target="gatebed:Rescuer"))
    assert prepare(human, policy(), data, 0) == human.plan()
    assert not fitted


def outcomes(folder, ends, lengths=None, successes=None, by_policy=True):
    """Episodes that end so."""
    lengths, successes = lengths or [40] * len(ends), successes or [None] * len(ends)
    return snapshot(
        folder,
        *(
            episode(number, length, end=end, success=success, by_policy=by_policy)
            for number, (end, length, success) in enumerate(zip(ends, lengths, successes, strict=True))
        ),
    )


@pytest.mark.parametrize("budget", [0.1, 0.4])
def test_thriftys_thresholds_keep_its_budget_on_what_they_are_of(tmp_path, budget):
    """Doubt and risk are each above their threshold at this fraction of the states that the policy visited."""
    data, ref = outcomes(tmp_path / "s", ["terminated", "truncated"] * 5), policy(ensemble=3)
    plan = prepare(ThriftyGateConfig(budget=budget), ref, data, 1)
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
    found = gating._threshold(np.array(values, np.float32), budget)
    assert (np.array(values) > found).sum() == above


def test_thrifty_looks_at_what_policies_visited_or_at_demonstrations_before_there_is_any(tmp_path, fitted):
    config, ref = ThriftyGateConfig(budget=0.5), policy(ensemble=2)
    demonstrations = [episode(number, 9, by_policy=False, end=end) for number, end in ((0, "terminated"), (1, "truncated"))]
    own = [episode(number, 7, end=end) for number, end in ((2, "terminated"), (3, "truncated"))]
    prepare(config, ref, snapshot(tmp_path / "a", *demonstrations), 1)
    prepare(config, ref, snapshot(tmp_path / "b", *demonstrations, *own), 1)
    first, second = (observations["obs"][:, 0].tolist() for observations, _, _ in fitted)
    assert first == [*range(9), *range(100, 109)]
    assert second == [*range(200, 207), *range(300, 307)]


def test_risk_is_how_near_a_failure_is(tmp_path, fitted):
    """discount ** steps to it: 1 at the step that ends in one, 0 all along an episode that doesn't; labelled or not."""
    data = snapshot(
        tmp_path / "s",
        episode(0, 3, labelled=[0, 1, 0]),
        episode(1, 4, labelled=[0, 0, 0, 0], end="truncated"),
        episode(2, 2),
    )
    prepare(ThriftyGateConfig(discount=0.5), policy(ensemble=2), data, 1)
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
    prepare(ThriftyGateConfig(failure=failure), policy(ensemble=2), data, 1)
    assert fitted[0][1].tolist() == failed


@pytest.mark.parametrize(("end", "discount"), [("terminated", 0.99), ("truncated", 0.99), ("terminated", 1e-9)])
def test_outcomes_of_one_kind_tell_nothing_about_risk(tmp_path, fitted, end, discount):
    """Nor do they where the discount makes early steps' risk vanish."""
    plan = prepare(ThriftyGateConfig(discount=discount), policy(ensemble=2), outcomes(tmp_path / "s", [end] * 3), 1)
    assert not fitted
    assert (len(plan.enter), plan.stay) == (1, ())
    assert plan.enter[0].predictor is None


def test_thrifty_gives_back_at_the_mean_discrepancy_unless_it_is_told(tmp_path):
    ref = policy(ensemble=2)
    blank = snapshot(tmp_path / "blank", episode(0, 8))
    labels = off_by(np.arange(8) / 8, blank, ref)
    data = snapshot(tmp_path / "s", episode(0, 8, labels=labels))
    assert prepare(ThriftyGateConfig(), ref, data, 1).leave == pytest.approx(3.5 / 8, abs=1e-5)
    assert prepare(ThriftyGateConfig(leave=0.01), ref, data, 1).leave == 0.01


def test_what_thrifty_cannot_know_is_bad_input(tmp_path):
    data = outcomes(tmp_path / "s", ["terminated", "truncated"], successes=[True, None])
    with pytest.raises(InputError, match=r"failure=unsuccessful: the environment doesn't say .*; set it to terminated"):
        prepare(ThriftyGateConfig(failure="unsuccessful"), policy(ensemble=2), data, 1)
    with pytest.raises(InputError, match=r"set policy\.ensemble=5"):
        prepare(ThriftyGateConfig(), policy(), data, 1)


@pytest.mark.parametrize("config", [SafeGateConfig(), ThriftyGateConfig()], ids=["safe", "thrifty"])
def test_a_gate_is_a_pure_function_of_policy_data_and_seed(tmp_path, config):
    """CORRECTNESS 14: a resumed run gets the same."""
    data, ref = outcomes(tmp_path / "s", ["terminated", "truncated"] * 2), policy(ensemble=2)
    one, two, other = (prepare(config, ref, data, seed) for seed in (1, 1, 2))
    assert [s.threshold for s in one.enter] == [s.threshold for s in two.enter]
    fits = [plan.enter[-1].predictor.arrays for plan in (one, two, other)]
    for name, values in fits[0].items():
        assert np.array_equal(values, fits[1][name])
    assert any(not np.array_equal(values, fits[2][name]) for name, values in fits[0].items())


def test_gates_are_plain_data(tmp_path):
    """As workers get them: they pickle, and do the same there."""
    data, ref = snapshot(tmp_path / "s", *(episode(number, 30) for number in range(3))), policy(ensemble=2)
    human = HumanGateConfig(intervener=ImportIntervenerConfig(target="gatebed:Rescuer"))
    for config in (LazyGateConfig(), ThriftyGateConfig(), human, EnsembleGateConfig()):
        plan = prepare(config, ref, data, 1)
        assert pickle.loads(pickle.dumps(plan)).build(2, leaf(BOX))
    seen, acts = windows_of(data)["obs"][:, 0], []
    middle = np.median(predicted(prepare(LazyGateConfig(), ref, data, 1).enter[0].predictor, {"obs": seen}))
    lazy = prepare(LazyGateConfig(threshold=float(middle)), ref, data, 1)
    there = pickle.loads(pickle.dumps(lazy))
    for gate in (lazy.build(90, leaf(BOX)), there.build(90, leaf(BOX))):
        now, _ = situation([0] * 90, np.ones((90, 2)), np.zeros((90, 2)))
        now.observations["obs"][:] = seen
        acts.append(gate.choose(now).expert_acts.tolist())
    assert acts[0] == acts[1]
    assert 0 < sum(acts[0]) < 90


def test_of_many_episodes_some_are_enough(tmp_path, fitted, monkeypatch):
    """Whole ones, drawn by the seed; with large observations, fewer."""
    data, ref = snapshot(tmp_path / "s", *(episode(number, 10) for number in range(30))), policy()
    monkeypatch.setattr(gating, "MAX_ROWS", 95)
    for seed in (1, 1, 2):
        prepare(SafeGateConfig(), ref, data, seed)
    rows = [observations["obs"][:, 0] for observations, _, _ in fitted]
    assert len(rows[0]) == 100
    np.testing.assert_array_equal(rows[0], rows[1])
    assert rows[0].tolist() == sorted(rows[0])
    assert set(rows[0]) != set(rows[2])
    monkeypatch.setattr(gating, "MAX_ROWS", 10**6)
    monkeypatch.setattr(gating, "_BLOCK", 1)
    monkeypatch.setattr(gating, "_MAX_BYTES", 45 * VECTOR.sample().nbytes)
    prepare(SafeGateConfig(), ref, data, 1)
    assert len(fitted[-1][1]) == 50

from dataclasses import replace

import pytest

from distil.algorithms.base import Budget
from distil.algorithms.dagger import ConstantBeta, DaggerConfig, ExponentialBeta, FirstBeta, LinearBeta, StopConfig
from distil.errors import InputError
from distil.experts.gates.config import HumanGateConfig, ImportIntervenerConfig, LazyGateConfig
from distil.plans import RoundReport, Spent
from distil.store import WeightConfig

BUDGET = Budget(num_demonstrations=3, num_steps=100, num_evaluation_episodes=50, max_episode_steps=200)


def report(index, *, is_final=False, score=None, score_low=None, num_looks=0, ahead=0, **spent):
    scored = {"score": score, "score_low": score_low, "num_looks": num_looks}
    typed = {"is_final": is_final, "ahead": ahead, "spent": Spent(**spent)} | scored
    return RoundReport(index=index, snapshot=1, policy_version=1, **typed)


def test_demonstrations_then_rounds_of_the_learner_then_the_held_out_score():
    algorithm = DaggerConfig(rounds=3, episodes_per_round=4, min_expert_return=7.0).build(BUDGET)
    rounds, last = [], None
    while (todo := algorithm.next_round(last)) is not None:
        rounds.append(todo)
        last = report(todo.index, is_final=todo.collect is None)
    assert [todo.index for todo in rounds] == [0, 1, 2, 3]
    assert [todo.check is not None for todo in rounds] == [True, False, False, False]
    assert rounds[0].check.min_return == 7.0
    plans = [todo.collect for todo in rounds[:3]]
    assert [(p.num_episodes, p.round, p.agent, p.label) for p in plans] == [
        (3, 0, "expert", False),
        (4, 1, "policy", True),
        (4, 2, "policy", True),
    ]
    assert [todo.update.round for todo in rounds[:3]] == [0, 1, 2]
    assert [todo.evaluate.held_out for todo in rounds] == [False, False, False, True]
    assert rounds[3].collect is rounds[3].update is None
    assert rounds[3].evaluate.num_episodes == 50


def test_each_update_has_the_weights():
    weights = WeightConfig(round_decay=0.9, intervention=2.0)
    for config, expected in ((DaggerConfig(weights=weights), weights), (DaggerConfig(), WeightConfig())):
        algorithm = config.build(BUDGET)
        assert [algorithm.next_round(last).update.weights for last in (None, report(0), report(1))] == [expected] * 3


@pytest.mark.parametrize("act", ["point", "sample"])
def test_the_policy_acts_as_configured_while_it_is_collected(act):
    algorithm = DaggerConfig(act=act, overlap=1).build(BUDGET)
    assert algorithm.next_round(report(0)).collect.act == act
    assert [plan.act for plan in algorithm.next_round(report(0)).ahead] == [act]


def test_it_is_pure():
    """CORRECTNESS 14: equal reports give equal rounds, no matter who asks and how often."""
    config = DaggerConfig(beta=ExponentialBeta(decay=0.5), stop=StopConfig(expert_labels=1000))
    last = report(2, expert_labels=500)
    one, two = config.build(BUDGET), config.build(BUDGET)
    one.next_round(None)
    assert one.next_round(last) == one.next_round(last) == two.next_round(last)


@pytest.mark.parametrize(
    ("beta", "values"),
    [
        (FirstBeta(), [1, 0, 0, 0]),
        (ConstantBeta(value=0.3), [1, 0.3, 0.3, 0.3]),
        (LinearBeta(rounds=2), [1, 0.5, 0, 0]),
        (ExponentialBeta(decay=0.5), [1, 0.5, 0.25, 0.125]),
    ],
)
def test_beta_follows_its_schedule_and_begins_at_one(beta, values):
    """CORRECTNESS 13: in round 0 the expert acts, whatever the schedule."""
    assert [beta.at(i) for i in range(4)] == pytest.approx(values)
    algorithm = DaggerConfig(beta=beta, beta_unit="step").build(BUDGET)
    assert algorithm.next_round(None).collect.agent == "expert"
    plans = [algorithm.next_round(report(i)).collect for i in range(3)]
    assert [plan.beta for plan in plans] == pytest.approx(values[1:])
    assert {plan.beta_unit for plan in plans} == {"step"}


@pytest.mark.parametrize("name", ["env_steps", "expert_labels"])
def test_a_budget_is_never_exceeded(name):
    """CORRECTNESS 16: only as many episodes as fit even if each takes as long as it may."""
    algorithm = DaggerConfig(rounds=99, episodes_per_round=4, stop=StopConfig(**{name: 1500})).build(BUDGET)
    sizes = []
    for spent in (0, 600, 900, 1100, 1300):
        todo = algorithm.next_round(report(1, **{name: spent}))
        sizes.append(todo.collect.num_episodes)
        assert spent + 200 * sizes[-1] <= 1500
    assert sizes == [4, 4, 3, 2, 1]
    last = algorithm.next_round(report(1, **{name: 1301}))
    assert last.collect is None
    assert last.evaluate.held_out


def test_what_is_collected_ahead_is_learned_from_though_the_budget_is_spent():
    algorithm = DaggerConfig(overlap=1, stop=StopConfig(expert_labels=500)).build(BUDGET)
    assert algorithm.next_round(report(3, expert_labels=400, ahead=1)).update is not None
    assert algorithm.next_round(report(3, expert_labels=400)).update is None


def test_demonstrations_count_against_the_budget():
    """CORRECTNESS 16."""
    algorithm = DaggerConfig(stop=StopConfig(expert_labels=500)).build(BUDGET)
    assert algorithm.next_round(None).collect.max_new == 2


@pytest.mark.parametrize("name", ["env_steps", "expert_labels"])
def test_what_others_have_spent_on_stored_demonstrations_does_not_count(name):
    algorithm = DaggerConfig(rounds=99, episodes_per_round=4, stop=StopConfig(**{name: 500})).build(BUDGET)
    todo = algorithm.next_round(report(0, **{name: 9100, f"given_{name}": 9000}))
    assert todo.collect.num_episodes == 2


@pytest.mark.parametrize(
    ("stop", "reported", "ends"),
    [
        ({"wall_s": 10.0}, {"wall_s": 9.9}, False),
        ({"wall_s": 10.0}, {"wall_s": 10.0}, True),
        ({"normalised": 0.95}, {"score": 0.99, "score_low": 0.94}, False),
        ({"normalised": 0.95}, {"score": 0.99, "score_low": 0.96}, True),
    ],
)
def test_it_stops_on_time_and_target(stop, reported, ends):
    todo = DaggerConfig(stop=StopConfig(**stop)).build(BUDGET).next_round(report(1, **reported))
    assert (todo.collect is None) == ends


def test_each_round_may_take_a_second_look_at_its_score():
    stop = StopConfig(normalised=0.9, confirm_episodes=50)
    algorithm = DaggerConfig(stop=stop, tuning_episodes=7).build(BUDGET)
    for last, num_looks in ((None, 0), (report(0), 0), (report(4, score=0.95, score_low=0.8, num_looks=2), 2)):
        plan = algorithm.next_round(last).evaluate
        assert (plan.num_episodes, plan.held_out, plan.confirm) == (7, False, stop.confirmation(num_looks))
    assert DaggerConfig().build(BUDGET).next_round(None).evaluate.confirm is None


def test_a_gate_decides_in_all_rounds_after_the_demonstrations():
    """In place of beta: the policy acts in each episode, and what is labelled is the gate's business."""
    gate = LazyGateConfig(threshold=0.2)
    algorithm = DaggerConfig(gate=gate, overlap=2, rounds=9).build(BUDGET)
    first, second = algorithm.next_round(None), algorithm.next_round(report(0))
    assert (first.collect.gate, first.collect.agent) == (None, "expert")
    for plan in (second.collect, *second.ahead):
        assert (plan.gate, plan.agent, plan.beta, plan.label) == (gate, "policy", 0.0, True)
    assert len(second.ahead) == 2


def test_somebody_who_intervenes_needs_no_expert_but_something_to_begin_with():
    human = HumanGateConfig(intervener=ImportIntervenerConfig(target="a:b"))
    lonely = Budget(num_demonstrations=None, num_steps=1, num_evaluation_episodes=1, has_expert=False)
    algorithm = DaggerConfig(gate=human, min_expert_return=3.0).build(lonely)
    first = algorithm.next_round(None)
    assert first.check is first.collect is None  # nobody to check or to demonstrate
    assert algorithm.next_round(report(0)).collect.gate == human
    with pytest.raises(InputError, match=r"set expert\.kind"):
        DaggerConfig(gate=LazyGateConfig()).build(lonely)


def test_without_evaluation_it_ends_after_the_last_round():
    quiet = Budget(num_demonstrations=3, num_steps=1, num_evaluation_episodes=0)
    algorithm = DaggerConfig(rounds=1, tuning_episodes=0, check_episodes=0).build(quiet)
    first = algorithm.next_round(None)
    assert first.check is first.evaluate is None
    assert algorithm.next_round(report(0)) is None


def test_what_to_train_on_is_passed_on():
    plan = DaggerConfig(last_rounds=2, from_scratch=True).build(BUDGET).next_round(report(4)).update
    assert (plan.streams["demos"].num_rounds, plan.from_scratch, plan.num_steps) == (2, True, 100)


def test_a_store_of_ones_own_stands_for_the_demonstrations():
    own = Budget(num_demonstrations=None, num_steps=1, num_evaluation_episodes=5)
    algorithm = DaggerConfig().build(own)
    assert algorithm.next_round(None).collect is None
    assert algorithm.next_round(report(0)).collect.agent == "policy"


@pytest.mark.parametrize(
    ("stop", "longest", "words"),
    [
        ({"expert_labels": 199}, 200, r"stop\.expert_labels=199: below one episode, which may take 200 steps"),
        ({"env_steps": 10}, 200, r"stop\.env_steps=10: below one episode"),
        ({"expert_labels": 10**6}, None, r"no limit, so the budget can't be kept: set env\.max_episode_steps"),
    ],
)
def test_a_budget_that_is_none_is_bad_input(stop, longest, words):
    budget = Budget(num_demonstrations=3, num_steps=1, num_evaluation_episodes=5, max_episode_steps=longest)
    with pytest.raises(InputError, match=words):
        DaggerConfig(stop=StopConfig(**stop)).build(budget)


def test_settings_that_contradict_each_other_are_bad_input():
    with pytest.raises(InputError, match=r"set expert\.kind"):
        DaggerConfig().build(Budget(num_demonstrations=None, num_steps=1, num_evaluation_episodes=1, has_expert=False))
    for beta in (ConstantBeta(value=0.5), LinearBeta(), ExponentialBeta()):
        with pytest.raises(ValueError, match="a gate decides who acts, and so does beta: take one of them out"):
            DaggerConfig(gate=LazyGateConfig(), beta=beta)
    with pytest.raises(ValueError, match=r"set algorithm\.tuning_episodes"):
        DaggerConfig(tuning_episodes=0, stop=StopConfig(normalised=0.9))
    with pytest.raises(ValueError, match=r"set algorithm\.check_episodes"):
        DaggerConfig(check_episodes=0, min_expert_return=1.0)


@pytest.mark.parametrize(
    ("limits", "granted", "text"),
    [
        ({"stop": {"normalised": 0.9}}, {"baselines": False}, "stop.normalised=0.9 needs .* evaluation.baselines=false leaves"),
        ({"min_expert_return": 3.0}, {"may_check": False}, "min_expert_return=3.0 needs .* expert.paid=true leaves"),
    ],
)
def test_limits_on_scores_that_are_not_measured_are_refused(limits, granted, text):
    config = DaggerConfig.model_validate(limits)
    config.check(BUDGET)
    with pytest.raises(ValueError, match=f"^algorithm.{text}"):
        config.check(replace(BUDGET, **granted))


def test_its_budget_is_the_gradient_steps_of_all_rounds():
    budget = Budget(num_demonstrations=2, num_steps=50, num_evaluation_episodes=0)
    assert DaggerConfig(rounds=4).fraction(Spent(gradient_steps=50), budget) == 0.25

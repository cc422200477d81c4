import pytest
from pydantic import ValidationError

from distil.algorithms.base import Budget
from distil.algorithms.bc import BCConfig
from distil.plans import RoundReport, Spent, WatchPlan


def test_one_round_of_collect_update_evaluate_then_the_end() -> None:
    algorithm = BCConfig().build(Budget(num_demonstrations=20, num_steps=100, num_evaluation_episodes=5))
    todo = algorithm.next_round(None)
    assert todo is not None
    assert todo.collect is not None
    assert todo.collect.num_episodes == 20
    assert todo.collect.agent == "expert"
    assert todo.update is not None
    assert todo.update.num_steps == 100
    assert todo.evaluate is not None
    assert todo.evaluate.num_episodes == 5
    assert algorithm.next_round(RoundReport(index=0, snapshot=1, policy_version=1)) is None


def test_a_store_of_ones_own_is_trained_on_whole_and_nothing_is_collected() -> None:
    todo = BCConfig().build(Budget(num_demonstrations=None, num_steps=100, num_evaluation_episodes=0)).next_round(None)
    assert todo is not None
    assert todo.collect is None
    assert todo.evaluate is None
    assert todo.update is not None


def test_scores_while_it_learns_are_asked_for_by_tuning_episodes() -> None:
    budget = Budget(num_demonstrations=20, num_steps=100, num_evaluation_episodes=0)
    plans = [BCConfig(**keys).build(budget).next_round(None) for keys in ({}, {"tuning_episodes": 7, "tune_every": 30})]
    found = [plan.update.watch for plan in plans if plan is not None and plan.update is not None]
    assert found == [None, WatchPlan(every=30, num_episodes=7)]


def test_a_period_without_episodes_and_scores_without_an_environment_are_refused() -> None:
    with pytest.raises(ValidationError, match="set tuning_episodes"):
        BCConfig(tune_every=30)
    with pytest.raises(ValueError, match=r"needs an environment: set env\.id"):
        BCConfig(tuning_episodes=3).check(Budget(num_demonstrations=1, num_steps=1, num_evaluation_episodes=0, has_env=False))


def test_its_budget_is_its_gradient_steps() -> None:
    budget = Budget(num_demonstrations=20, num_steps=100, num_evaluation_episodes=0)
    assert [BCConfig().fraction(Spent(gradient_steps=steps), budget) for steps in (0, 25, 100)] == [0, 0.25, 1]

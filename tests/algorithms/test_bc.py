from distil.algorithms.base import Budget
from distil.algorithms.bc import BCConfig
from distil.plans import RoundReport


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

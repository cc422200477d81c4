"""What holds of every algorithm."""

import dataclasses
import json

import pytest

from distil.algorithms.base import Algorithm, AlgorithmConfig, Budget, Needs
from distil.algorithms.bc import BCConfig
from distil.algorithms.dagger import DaggerConfig
from distil.errors import InputError
from distil.experts.gates.config import SafeGateConfig
from distil.plans import Round, RoundReport, Spent

BUDGET = Budget(num_demonstrations=4, num_steps=10, num_evaluation_episodes=3, max_episode_steps=20)
CONFIGS = {"bc": BCConfig(), "dagger": DaggerConfig(rounds=3, episodes_per_round=2)}
every = pytest.mark.parametrize("kind", CONFIGS)


def build(kind: str, budget: Budget = BUDGET) -> Algorithm:
    return CONFIGS[kind].build(budget)


def report(todo: Round) -> RoundReport:
    """What the round would have brought."""
    spent = Spent(wall_s=1.0 + todo.index, env_steps=100, expert_labels=100)
    is_final = todo.evaluate is not None and todo.evaluate.held_out
    return RoundReport(index=todo.index, snapshot=1 + todo.index, policy_version=1, spent=spent, is_final=is_final)


def rounds(algorithm: Algorithm) -> list[Round]:
    done, last = list[Round](), None
    while (todo := algorithm.next_round(last)) is not None:
        done.append(todo)
        last = report(todo)
        assert len(done) < 100
    return done


@every
def test_rounds_are_numbered_and_end(kind: str) -> None:
    assert [todo.index for todo in rounds(build(kind))] == list(range(len(rounds(build(kind)))))


@every
def test_a_resumed_run_takes_the_same_way(kind: str) -> None:
    """Equal reports give equal rounds, also to an algorithm that saw none of those before and reads them from the journal."""
    for todo, following in zip(rounds(build(kind)), [*rounds(build(kind))[1:], None], strict=True):
        written = json.loads(json.dumps(report(todo).to_json()))
        assert build(kind).next_round(RoundReport.from_json(written)) == following


@every
def test_metrics_decide_nothing(kind: str) -> None:
    """They are for people: a name or a value that changes there changes no round."""
    noise = {
        "eval/return_mean": 1e9,
        "tune/normalised": 1e9,
        "budget/env_steps": 1e9,
        "budget/wall_s": 1e9,
        "collect/ahead": 9.0,
    }
    config = CONFIGS[kind]
    for todo in rounds(build(kind)):
        last = report(todo)
        assert config.build(BUDGET).next_round(dataclasses.replace(last, metrics=noise)) == build(kind).next_round(last)


@every
def test_demonstrations_come_first_and_there_are_as_many_as_granted(kind: str) -> None:
    first = rounds(build(kind))[0]
    assert first.collect is not None
    assert (first.collect.agent, first.collect.num_episodes) == ("expert", 4)
    store_as_it_is = rounds(build(kind, dataclasses.replace(BUDGET, num_demonstrations=None)))[0]
    assert store_as_it_is.collect is None
    assert store_as_it_is.update is not None


@every
def test_the_held_out_episodes_are_looked_at_once_at_the_end(kind: str) -> None:
    scored = [todo.evaluate for todo in rounds(build(kind)) if todo.evaluate is not None and todo.evaluate.held_out]
    assert scored == [rounds(build(kind))[-1].evaluate]
    assert scored[0].num_episodes == 3


@every
def test_without_evaluation_episodes_nothing_is_held_out(kind: str) -> None:
    done = rounds(build(kind, dataclasses.replace(BUDGET, num_evaluation_episodes=0)))
    assert not [todo for todo in done if todo.evaluate is not None and todo.evaluate.held_out]
    assert done[-1].update is not None


def test_an_algorithm_that_only_trains_needs_nothing() -> None:
    class Own(AlgorithmConfig):
        def build(self, budget: Budget) -> Algorithm:
            return BCConfig().build(budget)

    assert Own().needs == BCConfig().needs == Needs(collects=False, gate=None, overlap=0)
    Own().check(dataclasses.replace(BUDGET, baselines=False, may_check=False))


def test_dagger_needs_what_its_configuration_says() -> None:
    assert DaggerConfig().needs == Needs(collects=True)
    assert DaggerConfig(gate=SafeGateConfig(), overlap=2).needs == Needs(collects=True, gate=SafeGateConfig(), overlap=2)


def test_a_sweep_says_what_an_algorithm_of_ones_own_lacks() -> None:
    class Own(AlgorithmConfig):
        def build(self, budget: Budget) -> Algorithm:
            raise AssertionError

    with pytest.raises(InputError, match="define `fraction`"):
        Own().fraction(Spent(), Budget(num_demonstrations=1, num_steps=1, num_evaluation_episodes=0))

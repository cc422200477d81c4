from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from distil.algorithms.base import Budget
from distil.algorithms.csil import CsilConfig
from distil.algorithms.dac import DacConfig
from distil.algorithms.gail import GailConfig
from distil.algorithms.iq import IqConfig
from distil.algorithms.ml_irl import MlIrlConfig
from distil.algorithms.rl import RlConfig
from distil.algorithms.sqil import SqilConfig
from distil.algorithms.stop import PeekConfig
from distil.plans import Round, RoundReport, Spent

BUDGET = Budget(num_demonstrations=3, num_steps=1, num_evaluation_episodes=50, batch_size=100, max_episode_steps=200)
KINDS = (SqilConfig, IqConfig, DacConfig, MlIrlConfig, GailConfig, RlConfig)
NO_LIMIT = Budget(num_demonstrations=3, num_steps=1, num_evaluation_episodes=50)


def report(index: int, **keys: Any) -> RoundReport:
    names = [name for name in keys if name in Spent.__dataclass_fields__]
    spent = Spent(**{name: keys.pop(name) for name in names})
    return RoundReport(index=index, snapshot=1, policy_version=1, spent=spent, **keys)


def carried_out(config: Any, length: int = 50, budget: Budget = BUDGET) -> list[Round]:
    """All rounds of a run whose episodes have `length` steps."""
    algorithm, rounds, last = config.build(budget), list[Round](), None
    episodes = updates = 0
    while (todo := algorithm.next_round(last)) is not None:
        rounds.append(todo)
        if todo.collect is not None and todo.collect.into == "agent":
            episodes += -(-todo.collect.min_steps // length)
            updates += todo.update.num_steps
        last = report(
            todo.index,
            agent_episodes=episodes,
            agent_steps=episodes * length,
            gradient_steps=updates,
            episode_length=float(length),
            is_final=todo.evaluate is not None and todo.evaluate.held_out,
        )
    return rounds


def test_demonstrations_then_rounds_of_the_learner_then_the_held_out_score() -> None:
    config = SqilConfig(steps=500, steps_per_round=100, random_steps=150, updates_per_step=2.0, keep_steps=300, tune_every=2)
    first, *middle, last = carried_out(config)
    assert (first.collect.num_episodes, first.collect.into, first.collect.agent) == (3, "demos", "expert")  # type: ignore[union-attr]
    assert (first.update.num_steps, list(first.update.streams), first.evaluate) == (0, ["demos"], None)  # the statistics
    plans = [todo.collect for todo in middle]
    assert [(p.into, p.min_steps, p.keep_steps, p.act, p.round) for p in plans if p] == [
        ("agent", 100, 300, "sample", i) for i in range(1, 6)
    ]
    assert [p.agent for p in plans if p] == ["random", "random", "policy", "policy", "policy"]
    assert [todo.update.num_steps for todo in middle if todo.update] == [200] * 5
    assert [todo.evaluate is not None for todo in middle] == [False, True, False, True, False]
    assert not any(todo.evaluate.held_out for todo in middle if todo.evaluate)
    assert last.evaluate is not None
    assert last.evaluate.held_out
    assert last.evaluate.num_episodes == 50


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_pure(kind: Any) -> None:
    """Equal reports give equal rounds, no matter who asks and how often."""
    last = report(3, agent_steps=2500, agent_episodes=20, gradient_steps=1000, episode_length=90.0)
    one, two = kind().build(BUDGET), kind().build(BUDGET)
    one.next_round(None)
    assert one.next_round(last) == one.next_round(last) == two.next_round(last)


@pytest.mark.parametrize("kind", KINDS)
def test_its_streams_are_those_that_its_objective_needs(kind: Any) -> None:
    """On-policy: the newest round only. Only reinforcement learning reads no demonstrations."""
    config = kind()
    todo = config.build(BUDGET).next_round(report(0))
    assert set(todo.update.streams) == ({"agent"} if kind is RlConfig else {"agent", "demos"})
    newest = todo.update.streams["agent"].num_rounds
    assert newest == (1 if config.step.kind == "ppo" else None)


def test_updates_make_up_for_steps_that_complete_episodes_add() -> None:
    config = SqilConfig(steps=1000, steps_per_round=100, random_steps=0, updates_per_step=0.5)
    algorithm = config.build(BUDGET)
    todo = algorithm.next_round(report(2, agent_steps=290, agent_episodes=3, gradient_steps=100, episode_length=97.0))
    assert todo.update.num_steps == round(0.5 * (290 + 100)) - 100
    ahead = algorithm.next_round(report(2, agent_steps=290, agent_episodes=3, gradient_steps=900, episode_length=97.0))
    assert ahead.update.num_steps == 1


def test_the_last_round_has_what_is_left() -> None:
    algorithm = SqilConfig(steps=1000, steps_per_round=300).build(BUDGET)
    assert algorithm.next_round(report(4, agent_steps=890, episode_length=10.0)).collect.min_steps == 110
    assert algorithm.next_round(report(4, agent_steps=1000)).evaluate.held_out


def test_on_policy_updates_are_epochs_over_all_steps_also_those_of_episodes_that_were_long() -> None:
    config = RlConfig(steps=9000, steps_per_round=1000)
    last = report(3, agent_steps=3500, gradient_steps=200)  # a thousand steps in batches of 100, ten times, are 100 updates
    todo = config.build(BUDGET).next_round(last)
    assert todo is not None
    assert todo.update is not None
    assert todo.update.num_steps == 450 - 200


@pytest.mark.parametrize(
    ("last", "budget", "expected"),
    [
        (report(0), NO_LIMIT, 1),  # 1000 steps, if an episode has a hundred, and each may be 16 times as long
        (report(0), BUDGET, 5),  # five can never be superfluous
        (report(9, agent_steps=5000, episode_length=8.0), BUDGET, 7),
        (report(9, agent_steps=5000, episode_length=200.0), BUDGET, 5),
        (report(9, agent_steps=5000, episode_length=5000.0), NO_LIMIT, 1),
    ],
)
def test_a_round_begins_with_few_episodes(last: RoundReport, budget: Budget, expected: int) -> None:
    """Of the last round's length, not the run's mean, which lags behind where episodes grow."""
    todo = SqilConfig(steps=20_000, steps_per_round=1000).build(budget).next_round(last)
    assert todo is not None
    assert todo.collect is not None
    assert todo.collect.num_episodes == expected


def test_stored_demonstrations_are_not_collected() -> None:
    algorithm = SqilConfig().build(Budget(num_demonstrations=None, num_steps=1, num_evaluation_episodes=0))
    first = algorithm.next_round(None)
    assert first.index == 0
    assert first.collect is None
    assert algorithm.next_round(report(9, agent_steps=20_000)) is None  # nothing to evaluate


TARGET = {"normalised": 0.9, "confirm_episodes": 40}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not RlConfig])
def test_a_score_ends_imitation_only_if_it_may_peek_at_the_reward(kind: Any) -> None:
    with pytest.raises(ValidationError, match=r"stop\.normalised decides by the environment's reward, .*stop\.peek=true"):
        kind(stop=TARGET)
    assert kind(stop={**TARGET, "peek": True}).stop.normalised == 0.9
    RlConfig(stop=TARGET)  # it reads the reward anyway


def test_a_score_that_may_end_the_run_is_confirmed() -> None:
    config = SqilConfig(stop=PeekConfig(**TARGET, peek=True), tune_every=2)
    algorithm = config.build(BUDGET)
    plan = algorithm.next_round(report(3, agent_steps=2000, gradient_steps=9, num_looks=1, episode_length=50.0)).evaluate
    assert plan.confirm == config.stop.confirmation(1)
    done = report(4, agent_steps=2000, score=0.97, score_low=0.92)
    assert algorithm.next_round(done).evaluate.held_out
    assert algorithm.next_round(report(4, agent_steps=2000, score=0.97, score_low=0.88, episode_length=50.0)).update
    assert SqilConfig().build(BUDGET).next_round(report(4, agent_steps=2000)).evaluate.confirm is None


def test_a_score_to_stop_at_must_be_measured() -> None:
    peeking = PeekConfig(**TARGET, peek=True)
    with pytest.raises(ValidationError, match=r"needs episodes to measure it on: set algorithm\.tuning_episodes"):
        SqilConfig(stop=peeking, tuning_episodes=0)
    with pytest.raises(ValueError, match=r"needs a score of the expert, which evaluation\.baselines=false"):
        SqilConfig(stop=peeking).check(replace(BUDGET, baselines=False))
    with pytest.raises(ValidationError, match=r"env_steps"):
        SqilConfig(stop={"env_steps": 1000})  # `steps` is that budget


@pytest.mark.parametrize("tuning_episodes", [0, 5])
def test_states_are_compared_without_looking_at_the_return(tuning_episodes: int) -> None:
    config = SqilConfig(tune_every=3, tuning_episodes=tuning_episodes)
    rounds = [config.build(BUDGET).next_round(report(i, agent_steps=1000 * i)) for i in range(6)]
    assert [todo.compare for todo in rounds] == [False, False, True, False, False, True]
    assert not RlConfig().build(BUDGET).next_round(report(2)).compare


def choices(config: Any) -> set[str | None]:
    return {todo.choose for todo in carried_out(config)}


def test_the_run_ends_with_the_best_of_the_policies_that_were_scored() -> None:
    """Imitation goes by its states, reinforcement learning by the return. A score that ends the run is the last policy's."""
    small = {"steps": 500, "steps_per_round": 100, "tune_every": 2}
    for config in (SqilConfig(**small), GailConfig(**small)):
        rounds = carried_out(config)
        assert [todo.choose for todo in rounds if todo.evaluate and not todo.evaluate.held_out] == ["distance"] * 2
        assert [todo.compare for todo in rounds] == [todo.choose == "distance" for todo in rounds]
        assert rounds[-1].is_final
        assert rounds[-1].choose is None
    assert choices(RlConfig(**small)) == {None, "return"}
    clone = carried_out(CsilConfig(**small, pretraining_steps=10))[0]
    assert (clone.choose, clone.compare) == ("distance", True), "the clone is one of them"
    assert choices(SqilConfig(**small, select="last")) == {None}
    assert choices(SqilConfig(**small, tuning_episodes=0)) == {None}
    assert choices(SqilConfig(**small, stop=PeekConfig(**TARGET, peek=True))) == {None}


@pytest.mark.parametrize(("step", "updates"), [("ppo", 0), ("sac", 500)])
def test_without_demonstrations_the_statistics_are_those_of_random_actions(step: str, updates: int) -> None:
    """A policy without statistics can not act. On-policy, nothing is learned from what it did not do itself."""
    config = RlConfig(step={"kind": step}, steps_per_round=500, random_steps=0)
    first, second, *_ = carried_out(config)
    assert (first.collect.agent, first.collect.into, first.collect.min_steps) == ("random", "agent", 500)
    assert (first.update.num_steps, list(first.update.streams)) == (updates, ["agent"])
    assert second.collect.agent == "policy"


def test_the_last_round_has_a_score_unless_held_out_episodes_follow() -> None:
    report = RoundReport(index=6, snapshot=1, policy_version=1, spent=Spent(agent_steps=900))
    for num, expected in ((0, True), (5, False)):
        budget = Budget(num_demonstrations=1, num_steps=1, num_evaluation_episodes=num)
        todo = SqilConfig(steps=1000, steps_per_round=100, tune_every=5).build(budget).next_round(report)
        assert todo is not None
        assert (todo.evaluate is not None) == expected


def test_its_budget_is_the_learners_steps_in_the_environment() -> None:
    budget = Budget(num_demonstrations=1, num_steps=1, num_evaluation_episodes=0)
    assert SqilConfig(steps=1000).fraction(Spent(agent_steps=250), budget) == 0.25
    assert SqilConfig(steps=1000).fraction(Spent(agent_steps=1100), budget) == 1.0
    assert IqConfig(offline_updates=200).fraction(Spent(gradient_steps=50), budget) == 0.25

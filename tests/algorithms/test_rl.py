from pathlib import Path
from typing import Any

import pytest
from interactionbed import learning_round

import distil
from distil.algorithms.base import Budget
from distil.algorithms.rl import RlConfig
from distil.config import validate
from distil.errors import InputError
from distil.objectives.rl_config import PpoConfig, SacConfig, SoftViConfig
from distil.plans import RoundReport, Spent


def test_it_reads_no_demonstrations() -> None:
    assert RlConfig().parts[1].kind == "environment"
    update = learning_round(RlConfig()).update
    assert update is not None
    assert list(update.streams) == ["agent"]


def test_ppo_never_acts_at_random_and_other_steps_do_at_first() -> None:
    """Random actions have no probability of the policy's."""
    for step, who in ((PpoConfig(), "policy"), (SacConfig(), "random")):
        collect = learning_round(RlConfig(step=step, random_steps=2000)).collect
        assert collect is not None
        assert collect.agent == who


def _given(**keys: Any) -> dict[str, Any]:
    return {"kind": "rl", "reward": {"kind": "learned", "path": "run"}, **keys}


def test_a_given_reward_takes_the_place_of_the_environments() -> None:
    config = validate(RlConfig, _given(tune_every=1))
    assert config.parts[1].kind == "learned"
    todo = learning_round(config)
    assert todo.update is not None
    assert list(todo.update.streams) == ["agent"]
    assert todo.evaluate is not None, "scores are for people"
    assert (todo.choose, todo.compare) == ("learned", False), "the return, which is for people, must not choose the policy"


@pytest.mark.parametrize(
    ("keys", "fault"),
    [({"backend": "rllib"}, "RLlib learns from the environment's reward"), ({"stop": {"normalised": 0.9}}, "stop.peek=true")],
)
def test_what_a_given_reward_excludes(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        validate(RlConfig, _given(**keys))


def test_a_planner_acts_for_one_episode_and_plans_once() -> None:
    algorithm = RlConfig(step=SoftViConfig()).build(Budget(num_demonstrations=None, num_steps=1, num_evaluation_episodes=3))
    first = algorithm.next_round(None)
    assert first is not None
    assert first.collect is not None
    assert first.update is not None
    assert (first.collect.num_episodes, first.collect.min_steps, first.update.num_steps) == (1, 1, 1)
    last = algorithm.next_round(RoundReport(index=0, snapshot=None, policy_version=1, spent=Spent(agent_steps=50)))
    assert last is not None
    assert (last.collect, last.update, last.is_final) == (None, None, True)
    with pytest.raises(InputError, match=r"updates_per_step has no effect with step\.kind=soft_vi"):
        validate(RlConfig, {"step": {"kind": "soft_vi"}, "updates_per_step": 0.5})


def test_the_reward_of_the_states_is_worth_as_much_where_the_gap_has_moved(tmp_path: Path) -> None:
    """Planned there on what was learned from demonstrations with the gap on the other side."""
    small = {"runs": str(tmp_path), "rollouts.num_workers": 0, "tracking.enabled": False, "evaluation.episodes": 10}
    source = distil.train("gridworld-mce-irl", small | {"data.path": str(tmp_path / "demos"), "evaluation.episodes": 0})
    learned = {"algorithm.reward": {"kind": "learned", "path": str(source.path)}, "algorithm.step.temperature": 1.0}
    run = distil.train("gridworld-soft-vi", small | learned)
    assert run.metrics["eval/normalised"] > 0.95
    assert run.metrics["budget/agent_steps"] == 50

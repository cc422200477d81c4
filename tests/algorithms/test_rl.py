from typing import Any

import pytest
from interactionbed import learning_round

from distil.algorithms.rl import RlConfig
from distil.config import validate
from distil.errors import InputError
from distil.objectives.rl_config import PpoConfig, SacConfig


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
    assert (todo.choose, todo.compare) == (None, False), "what they say must not choose the policy"


@pytest.mark.parametrize(
    ("keys", "fault"),
    [({"backend": "rllib"}, "RLlib learns from the environment's reward"), ({"stop": {"normalised": 0.9}}, "stop.peek=true")],
)
def test_what_a_given_reward_excludes(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        validate(RlConfig, _given(**keys))

import pytest
from interactionbed import learning_round
from pydantic import ValidationError

from distil.algorithms.pwil import PwilConfig
from distil.objectives.rl_config import PpoConfig
from distil.plans import StreamPlan


def test_it_is_a_fixed_reward_with_an_off_policy_step_on_all_its_steps() -> None:
    step, reward = PwilConfig().parts
    assert (step.kind, reward.kind) == ("sac", "pwil")
    update = learning_round(PwilConfig()).update
    assert update is not None
    assert update.streams == {"agent": StreamPlan(source="agent"), "demos": StreamPlan()}


def test_it_is_not_learned_on_policy() -> None:
    with pytest.raises(ValidationError, match="step"):
        PwilConfig(step=PpoConfig())

from interactionbed import learning_round

from distil.algorithms.rl import RlConfig
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

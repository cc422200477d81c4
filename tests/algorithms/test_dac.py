from interactionbed import learning_round

from distil.algorithms.dac import DacConfig
from distil.plans import StreamPlan


def test_it_is_a_discriminator_with_an_off_policy_step_on_all_its_steps() -> None:
    step, reward = DacConfig().parts
    assert (step.kind, reward.kind) == ("sac", "discriminator")
    update = learning_round(DacConfig()).update
    assert update is not None
    assert update.streams == {"agent": StreamPlan(source="agent"), "demos": StreamPlan()}

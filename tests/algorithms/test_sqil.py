from interactionbed import learning_round

from distil.algorithms.sqil import SqilConfig
from distil.plans import StreamPlan


def test_it_learns_from_all_its_steps_with_a_constant_reward() -> None:
    step, reward = SqilConfig().parts
    assert (step.kind, step.loss, reward.kind) == ("soft_q", "td", "constant")
    update = learning_round(SqilConfig()).update
    assert update is not None
    assert update.streams == {"agent": StreamPlan(source="agent"), "demos": StreamPlan()}

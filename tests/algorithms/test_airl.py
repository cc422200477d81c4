from interactionbed import learning_round

from distil.algorithms.airl import AirlConfig
from distil.plans import StreamPlan


def test_it_learns_from_its_newest_round_alone() -> None:
    step, reward = AirlConfig().parts
    assert (step.kind, reward.kind) == ("ppo", "airl")
    update = learning_round(AirlConfig()).update
    assert update is not None
    assert update.streams == {"agent": StreamPlan(source="agent", num_rounds=1), "demos": StreamPlan()}

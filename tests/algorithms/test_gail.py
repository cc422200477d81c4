from interactionbed import learning_round

from distil.algorithms.gail import GailConfig
from distil.plans import StreamPlan


def test_it_learns_from_its_newest_round_alone() -> None:
    config = GailConfig()
    step, reward = config.parts
    assert (step.kind, reward.kind) == ("ppo", "discriminator")
    todo = learning_round(config)
    assert todo.update is not None
    assert todo.update.streams == {"agent": StreamPlan(source="agent", num_rounds=1), "demos": StreamPlan()}
    assert todo.update.num_steps == step.epochs * 16  # 2,048 steps in batches of 128
    assert todo.collect is not None
    assert todo.collect.agent == "policy"

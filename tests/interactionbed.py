"""Rounds of the algorithms of imitation by interaction, for their tests."""

from distil.algorithms.base import Budget
from distil.algorithms.interaction import ByInteractionConfig
from distil.plans import Round, RoundReport, Spent


def learning_round(config: ByInteractionConfig) -> Round:
    """The second round with learning, after 1,000 steps of the learner in ten episodes."""
    algorithm = config.build(Budget(num_demonstrations=5, num_steps=100, num_evaluation_episodes=3, batch_size=128))
    spent = Spent(agent_steps=1000, agent_episodes=10, gradient_steps=1000)
    found = algorithm.next_round(RoundReport(index=1, snapshot=None, policy_version=1, spent=spent))
    assert found is not None
    return found

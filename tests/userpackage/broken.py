"""What a user may get wrong: each class has one fault, which its name says."""

from distil.objectives.gradient import GradientObjective
from distil.plans import Round, UpdatePlan


class AlgorithmWithoutNextRound:
    def __init__(self, budget):
        self.budget = budget


class AlgorithmThatRaises(AlgorithmWithoutNextRound):
    def next_round(self, last):
        return Round(index=last.index)


class AlgorithmOfOtherType(AlgorithmWithoutNextRound):
    def next_round(self, last):
        return UpdatePlan(num_steps=1)


class AlgorithmOfOtherArguments:
    def next_round(self, last):
        return None


class ObjectiveWithoutLoss(GradientObjective):
    """Abstract."""


class ObjectiveWithoutBase:
    """Has none of the methods."""

    def __init__(self, policy, optimiser, ranks):
        self.policy = policy


class ObjectiveThatRaises(GradientObjective):
    def loss(self, policy, batches, generator):
        return policy.loss(batches["states"])


class ObjectiveOfOtherShape(GradientObjective):
    def loss(self, policy, batches, generator):
        return policy.loss(batches["demos"]).mean()


class ObjectiveOfOtherArguments(GradientObjective):
    def __init__(self, policy):
        super().__init__(policy, None)

    def loss(self, policy, batches, generator):
        return policy.loss(batches["demos"])


def objective(policy, optimiser, ranks):
    """No class."""

"""What a user may get wrong: each class has one fault, which its name says."""

from distil.objectives.gradient import GradientObjective


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

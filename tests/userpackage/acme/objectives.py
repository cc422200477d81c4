"""An objective: cloning that prefers small actions."""

from distil.objectives.gradient import GradientObjective


class Gentle(GradientObjective):
    """The policy's own loss, plus `weight` times the mean square of the actions that it would take."""

    def __init__(self, policy, optimiser, ranks, weight=1e-3):
        super().__init__(policy, optimiser, ranks)
        self.weight = weight

    def loss(self, policy, batches, generator):
        """Return the loss of each window, [B]."""
        batch = batches["demos"]
        actions_BTA = policy.plan(batch.observations, None)
        return policy.loss(batch, generator=generator) + self.weight * actions_BTA.square().mean((1, 2))

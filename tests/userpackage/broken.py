"""What a user may get wrong: each class has one fault, which its name says."""

from acme.encoders import Recurrent
from acme.heads import Huber

from distil.heads.base import Head, HeadLoss
from distil.objectives.gradient import GradientObjective
from distil.plans import Round, UpdatePlan
from distil.policies.encoder import Backbone


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


class HeadWithoutPoint(Huber):
    point = Head.point


class HeadThatRaises(Huber):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return super().loss(context, actions_BTA, is_pad_BT).pooled


class HeadWhoseLossIsATensor(Huber):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return super().loss(context, actions_BTA, is_pad_BT).loss_BT


class HeadWhoseLossIsAMean(Huber):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return HeadLoss(loss_BT=super().loss(context, actions_BTA, is_pad_BT).loss_BT.mean())


class HeadWhoseLossHasNoGradient(Huber):
    def loss(self, context, actions_BTA, is_pad_BT, *, generator=None):
        return HeadLoss(loss_BT=super().loss(context, actions_BTA, is_pad_BT).loss_BT.detach())


class HeadWhosePointIsFlat(Huber):
    def point(self, context):
        return super().point(context).flatten(1)


class HeadWhoseSampleIsFlat(Huber):
    def sample_from(self, context, noise_BK):
        return super().sample_from(context, noise_BK).flatten(1)


class HeadOfOtherArguments(Huber):
    def __init__(self):
        super().__init__(None, 1, 1)


class EncoderWithoutForward(Recurrent):
    forward = Backbone.forward


class EncoderThatRaises(Recurrent):
    def forward(self, features_BHF, images):
        return super().forward(images["camera"], images)


class EncoderThatReturnsATensor(Recurrent):
    def forward(self, features_BHF, images):
        return super().forward(features_BHF, images).pooled_BD


class EncoderOfOtherWidth(Recurrent):
    def __init__(self, num_features, images, horizon):
        super().__init__(num_features, images, horizon)
        self.num_out += 1


class EncoderOfOtherArguments(Recurrent):
    def __init__(self):
        super().__init__(1, {}, 1)


def head(action, context_dim, chunk):
    """No class."""


class NoHead:
    """No head."""

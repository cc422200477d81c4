"""`reward:` which reward the learner is judged by. Imports no torch."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from distil.config import Config

if TYPE_CHECKING:
    import torch

    from distil.policies.policy import Policy
    from distil.rewards.base import RewardModel
    from distil.rewards.maxent import MaxEntReward
    from distil.rewards.network import StepNetwork
    from distil.rewards.tabular import TabularReward

Width = Annotated[int, Field(ge=1)]
Nature = Literal["reward", "relative", "implied"]
ABOUT: dict[Nature, str] = {
    "reward": "what the expert wants; one of the state alone may be used where the dynamics are different",
    "relative": "how to tell the expert from the learner as it was then, so it depends on that learner",
    "implied": "what a Q-function or a clone implies: it contains the dynamics that it was learned in, and fits only these",
}
REWARD = "reward.safetensors"  # a saved reward


class SavedConfig(Config):
    """A reward that a run keeps beside its policy.

    Attributes:
        nature: what it can be used for; see `ABOUT`.
    """

    nature: ClassVar[Nature] = "reward"

    @property
    def knows_ends(self) -> bool:
        """Whether it says what follows the end of a task: the reward of the absorbing state."""
        return False

    @property
    @abstractmethod
    def least_weights(self) -> int:
        """How many numbers its networks have at least, whatever they see."""


class OfPolicyConfig(Config):
    """A reward that is made from the policy that it judges, or from a copy of it."""

    @abstractmethod
    def build(self, policy: Policy, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model."""


class EnvironmentConfig(Config):
    """The environment's own reward: reinforcement learning, to train experts."""

    no_reward: ClassVar[str] = "it learns from the environment's own reward"

    kind: Literal["environment"] = "environment"

    def build(self, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model."""
        from distil.rewards.fixed import EnvironmentReward

        return EnvironmentReward()


class ConstantConfig(Config):
    """1 for the expert's steps, 0 for the learner's (SQIL)."""

    no_reward: ClassVar[str] = "its reward is 1 for demonstrations and 0 for the learner, whatever the step"

    kind: Literal["constant"] = "constant"

    def build(self, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model."""
        from distil.rewards.fixed import ConstantReward

        return ConstantReward()


class LearnedConfig(SavedConfig):
    """What learned reward models share.

    `ends` says what an end of the task means. absorbing: a state that lasts for ever and has a reward of its own. done: the
    model sees which step was the last. Without either, a positive reward pays for staying alive, a negative one for a quick
    end, whatever the expert does: so `ignore` is refused unless all episodes have the same length and none is terminated.
    """

    sees: Literal["state", "state_action", "transition"] = "state_action"
    hidden: tuple[Width, ...] = (64,)
    rate: float = Field(default=1.0, gt=0)  # its learning rate, times `learner.learning_rate`
    gradient_penalty: float = Field(default=10.0, ge=0)
    spectral_norm: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)  # share of hidden units that each step of the model leaves out
    ends: Literal["absorbing", "done", "ignore"] = "absorbing"

    @property
    def knows_ends(self) -> bool:
        """Whether it has a reward of the absorbing state."""
        return self.ends == "absorbing"

    @property
    def least_weights(self) -> int:
        """How many weights its network has at least."""
        return _least(self.hidden)

    def network(self, num_features: int, num_action: int, generator: torch.Generator) -> StepNetwork:
        """Return the network with start weights from `generator`."""
        from distil.rewards.network import StepNetwork

        return StepNetwork(
            num_features,
            num_action,
            sees=self.sees,
            hidden=self.hidden,
            spectral=self.spectral_norm,
            dropout=self.dropout,
            ends=self.ends,
            generator=generator,
        )


class DiscriminatorConfig(LearnedConfig):
    """A classifier of the expert's and the learner's steps (GAIL, DAC)."""

    nature: ClassVar[Nature] = "relative"

    kind: Literal["discriminator"] = "discriminator"
    shape: Literal["gail", "airl", "fairl"] = "airl"  # how the reward follows from the logit

    @model_validator(mode="after")
    def _may_end(self) -> Self:
        if self.shape == "gail" and self.ends == "done":
            raise ValueError(
                "shape=gail gives positive rewards, which pay for staying alive though the model sees the end: set "
                "ends=absorbing, or shape=airl"
            )
        return self

    def build(self, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model with start weights from `generator`."""
        from distil.rewards.discriminator import Discriminator

        network = self.network(num_features, num_action, generator)
        return Discriminator(network, shape=self.shape, penalty=self.gradient_penalty)


class AirlConfig(LearnedConfig):
    """A reward apart from the dynamics (AIRL). Of the state alone, it transfers to other dynamics."""

    kind: Literal["airl"] = "airl"

    def build(self, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model with start weights from `generator`."""
        from distil.rewards.airl import AirlReward

        reward = self.network(num_features, num_action, generator)
        of_state = self.model_copy(update={"sees": "state", "ends": "absorbing"})
        return AirlReward(reward, of_state.network(num_features, num_action, generator), penalty=self.gradient_penalty)


class MaxEntConfig(LearnedConfig):
    """A reward by maximum likelihood (ML-IRL)."""

    kind: Literal["maxent"] = "maxent"
    square: float = Field(default=0.1, ge=0)  # weight of the mean square of the reward

    def build(self, num_features: int, num_action: int, generator: torch.Generator) -> MaxEntReward:
        """Return the model with start weights from `generator`."""
        from distil.rewards.maxent import MaxEntReward

        network = self.network(num_features, num_action, generator)
        return MaxEntReward(network, penalty=self.gradient_penalty, square=self.square)


class PwilConfig(Config):
    """How near an episode's steps are to those of demonstrations (PWIL). Fixed: nothing about it is learned."""

    no_reward: ClassVar[str] = "a step's reward depends on the steps before it, which use the demonstrations up"

    kind: Literal["pwil"] = "pwil"
    scale: float = Field(default=5.0, gt=0)  # the largest reward: alpha in the paper
    bandwidth: float = Field(default=5.0, gt=0)  # how fast the reward falls with the distance: beta

    def build(self, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model."""
        from distil.rewards.pwil import PwilReward

        return PwilReward(scale=self.scale, bandwidth=self.bandwidth)


class CoherentConfig(SavedConfig, OfPolicyConfig):
    """A clone's certainty of an action (CSIL). The clone is pretrained, and the policy starts as it is."""

    nature: ClassVar[Nature] = "implied"

    kind: Literal["coherent"] = "coherent"
    rate: float = Field(default=10.0, gt=0)  # learning rate of the pretraining at its highest, times `learner.learning_rate`
    prior: float = Field(default=1.0, gt=0)  # the clone's deviation where it knows nothing, before the squashing
    lowest: float = -2.0  # smaller rewards count as this one
    noise: float = Field(default=2.0, ge=0)  # disturbs demonstrations by up to N standard deviations: there it knows nothing
    refinement: MaxEntConfig = MaxEntConfig(rate=0.1, square=0.2)  # learned from what the learner does, and added

    @property
    def knows_ends(self) -> bool:
        """Whether its refinement has a reward of the absorbing state."""
        return self.refinement.knows_ends

    @property
    def least_weights(self) -> int:
        """How many weights its refinement has at least."""
        return self.refinement.least_weights

    def build(self, policy: Policy, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model, with a copy of the policy as its clone."""
        from copy import deepcopy

        from distil.rewards.coherent import CoherentReward

        refinement = self.refinement.build(num_features, num_action, generator)
        return CoherentReward(deepcopy(policy), refinement, prior=self.prior, lowest=self.lowest, noise=self.noise)


class TabularConfig(SavedConfig):
    """A table of the states, or of states and actions. Of the states alone, it transfers to other dynamics."""

    kind: Literal["tabular"] = "tabular"
    sees: Literal["state", "state_action"] = "state"

    @property
    def knows_ends(self) -> bool:
        """A state that ends the task has its own reward for ever."""
        return True

    @property
    def least_weights(self) -> int:
        """It has no network."""
        return 0

    def build(self, num_features: int, num_action: int, generator: torch.Generator) -> TabularReward:
        """Return the model, whose table is 0."""
        from distil.rewards.tabular import TabularReward

        return TabularReward(num_features, num_action, sees=self.sees)


class CriticsConfig(Config):
    """The critics of an actor; see `distil.nn.critics`."""

    hidden: tuple[Width, ...]
    num: int = Field(ge=1)
    layer_norm: bool


class ImpliedConfig(SavedConfig, OfPolicyConfig):
    """What a Q-function implies (IQ-Learn, LS-IQ): r = Q(s, a) - discount * V(s'). It is what such a run keeps."""

    nature: ClassVar[Nature] = "implied"

    kind: Literal["implied"] = "implied"
    critics: CriticsConfig | None = None  # null: Q is temperature * logit of the policy

    @property
    def least_weights(self) -> int:
        """How many weights the critics have at least."""
        return 0 if self.critics is None else self.critics.num * _least(self.critics.hidden)

    def build(self, policy: Policy, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model, of this policy and of critics with start weights from `generator`."""
        from distil.nn.critics import Critics
        from distil.rewards.implied import CriticsReward, LogitsReward

        if self.critics is None:
            return LogitsReward(policy)
        chosen, num_in = self.critics, num_features + num_action
        return CriticsReward(policy, Critics(num_in, chosen.hidden, chosen.num, generator, standardised=chosen.layer_norm))


def _least(hidden: Sequence[int]) -> int:
    return sum(map(math.prod, itertools.pairwise((1, *hidden))))


RewardConfig = Annotated[
    EnvironmentConfig | ConstantConfig | DiscriminatorConfig | AirlConfig | MaxEntConfig | PwilConfig | CoherentConfig,
    Field(discriminator="kind"),
]
SavedRewardConfig = Annotated[
    DiscriminatorConfig | AirlConfig | MaxEntConfig | CoherentConfig | TabularConfig | ImpliedConfig,
    Field(discriminator="kind"),
]

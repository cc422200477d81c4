"""What every reward model is: from what happened in a step to a reward, which is computed anew whenever it is used.

Episodes that end early are the trap of imitation by interaction (Kostrikov et al., 2019, "Discriminator-Actor-Critic",
section 4): a reward that is positive everywhere pays for staying alive, one that is negative everywhere for a quick end,
whatever the expert does. So a task that ends goes on in an absorbing state for ever, whose reward the model gives too. It is
never stored: the value of the absorbing state is r / (1 - discount).

Legend: B batch, F standardised features, A action (one-hot for discrete ones).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from distil.types import Array

if TYPE_CHECKING:
    from distil.policies.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Steps:
    """B steps as a reward model sees them."""

    features_BF: Tensor
    actions_BA: Tensor
    next_features_BF: Tensor
    terminated_B: Tensor  # bool
    is_expert_B: Tensor  # bool
    rewards_B: Tensor | None = None  # the environment's, where they were read, or those of `EpisodeReward.of_episodes`
    observations: Mapping[str, Tensor] = field(default_factory=dict)  # leaf name -> [B, 1, ...], as they are stored
    next_observations: Mapping[str, Tensor] = field(default_factory=dict)  # the same, where `reads_next`
    log_probs_B: Tensor | None = None  # the current policy's log density of the actions, where `needs_log_probs`; no gradient


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """The rewards of B steps, and of each step that one spends in the absorbing state afterwards where the task ended."""

    rewards_B: Tensor
    absorbing_B: Tensor


class RewardModel(nn.Module, ABC):
    """A reward model.

    Attributes:
        reads_rewards: whether it needs the environment's own rewards.
        reads_features: whether it depends on states and actions at all.
        reads_next: whether it needs the next observations as they are stored.
        needs_demos: whether it compares the learner's steps with demonstrations.
        needs_log_probs: whether it needs the current policy's log density of each step's action.
        discount: of the return; the objective sets it.
    """

    reads_rewards: ClassVar[bool] = False
    reads_features: ClassVar[bool] = True
    reads_next: ClassVar[bool] = False
    needs_demos: ClassVar[bool] = True
    needs_log_probs: ClassVar[bool] = False
    discount: float = 0.99

    @abstractmethod
    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards of steps."""

    def elsewhere(self, steps: Steps) -> Rewards:
        """Return the rewards to use elsewhere: without what belongs to this run's policy, such as shaping and densities.

        Args:
            steps: none of them marked as terminated, without densities.
        """
        found: Rewards = self(steps)
        return found

    def notes(self) -> Sequence[str]:
        """Return what the user should know of the model's state before the next update; each only once."""
        return []


class LearnedReward(RewardModel):
    """A reward that is trained while the policy learns."""

    @abstractmethod
    def loss(self, expert: Steps, agent: Steps, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss, and scalars to report.

        Args:
            expert: steps of demonstrations.
            agent: steps of the learner's own episodes.
            generator: of the loss's randomness.
        """


class EpisodeReward(RewardModel):
    """A reward of whole episodes that depends on nothing that is learned: it is computed when an update begins."""

    @abstractmethod
    def of_episodes(self, rows: Steps, ends_R: Array, shown: Steps, shown_ends_N: Array) -> tuple[Array, Array]:
        """Return the rewards of the learner's steps, float32 [R], and of the demonstrations', [N]; `Steps.rewards_B` has them.

        Args:
            rows: steps of complete episodes, one episode after another.
            ends_R: bool, an episode's last steps.
            shown: steps of the demonstrations.
            shown_ends_N: bool, a demonstration's last steps.
        """


class ClonedReward(RewardModel):
    """A reward from a clone, which learns from demonstrations before the learner acts; the policy starts as this clone."""

    clone: Policy

    @abstractmethod
    def start_from(self, policy: Policy) -> None:
        """Take over the weights and statistics of the policy before it has learned anything."""

    @abstractmethod
    def clone_loss(self, expert: Steps, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clone's loss, and scalars to report."""

    @abstractmethod
    def hand_over(self, policy: Policy) -> None:
        """Give the policy the clone's weights."""

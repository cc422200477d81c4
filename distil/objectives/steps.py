"""What one step of reinforcement learning is: it improves the policy on transitions whose rewards are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from distil.objectives.transitions import Transitions
from distil.rewards.base import Rewards
from distil.rewards.config import ImpliedConfig
from distil.rewards.implied import ImpliedReward
from distil.types import Array


class RLStep(ABC):
    """Owns what it needs besides the policy: critics, their targets, a temperature, and all optimisers.

    Attributes:
        networks: everything that a checkpoint must hold, besides the policy and the optimisers.
        discount: of the return.
        reads_features: whether its own networks read the standardised features, beside the policy's.
    """

    networks: nn.Module
    discount: float
    reads_features: ClassVar[bool] = True

    @abstractmethod
    def learn(
        self, transitions: Transitions, rewards: Rewards | None, learning_rate: float, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Take one step.

        Args:
            transitions: the batch.
            rewards: of the batch, without gradients; None on-policy, where they are prepared.
            learning_rate: of all its optimisers.
            generator: of its randomness.

        Returns:
            Name -> scalar to report.
        """

    @abstractmethod
    def optimisers(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return the state of each optimiser, by name; it shares memory."""

    @abstractmethod
    def load_optimisers(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load what `optimisers` returned."""

    def implied(self) -> tuple[ImpliedConfig, ImpliedReward] | None:
        """Return the reward that its Q-function implies, on its own networks; None: it learns from rewards."""
        return None

    def after_end(self, rewards: Rewards) -> Tensor:
        """Return the value of the absorbing state, [B]: its reward for ever."""
        return rewards.absorbing_B / (1 - self.discount)


class OnPolicyStep(RLStep):
    """A step that learns from the newest round only, on fields that are computed once an update, rewards among them."""

    @abstractmethod
    def prepare(self, rows: Transitions, ends_R: Tensor, reward: Callable[[Transitions], Rewards]) -> Mapping[str, Array]:
        """Return what `learn` needs of each row, by name: float32 [R], `reward` among them.

        Called at an update's start.

        Args:
            rows: all transitions of the round's episodes, in their order.
            ends_R: bool, which are an episode's last.
            reward: the reward model as it is now.
        """

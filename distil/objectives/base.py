"""The protocol between a learner, which feeds batches, and an objective, which owns the maths and its optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from distil.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from distil.policies.policy import Policy


@dataclass(frozen=True, kw_only=True)
class ObjectiveState:
    """All that an objective needs to continue exactly where it stood."""

    tensors: Mapping[str, Tensor]  # flat names, such as `policy.encoder.0.weight`
    counters: Mapping[str, Any]  # JSON


class Objective(Protocol):
    """Learner-side maths. Owns its optimisers; what a learner steps."""

    policy: Policy

    def begin(self, num_steps: int) -> None:
        """Start a plan of `num_steps` gradient steps: the learning rate's schedule restarts."""

    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Take one gradient step on this rank's part of each stream's global batch; return scalars, still on the device."""

    def reseed(self, seed: int) -> None:
        """Restart the randomness of the loss at `seed`."""

    def evaluation_policy(self) -> Policy:
        """Return an independent copy of the policy that is to be evaluated and saved, in evaluation mode."""

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the weights of an earlier `evaluation_policy` back, as both the trained and the evaluated ones."""

    def state_dict(self) -> ObjectiveState:
        """Return the state; its tensors may share memory with the objective's."""

    def load_state_dict(self, state: ObjectiveState) -> None:
        """Take over `state`; ValueError names the first tensor that doesn't fit."""

"""Transitions as reinforcement learning takes them: actions in the head's space, who acted, no raw rewards unless asked.

Legend: B batch, A action dimension (or factor).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from distil.nn.losses import LABEL_LIMIT
from distil.policies.policy import Policy
from distil.store.windows import TransitionBatch

AGENT = "agent"  # name of the stream of the learner's own steps


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """What happened in B single steps. Tensors on the policy's device."""

    observations: Mapping[str, Tensor]  # leaf name -> [B, 1, ...]
    actions_BA: Tensor  # executed, in the head's space: [-1, 1] of a Box, int64 from 0 on of others
    next_observations: Mapping[str, Tensor]  # leaf name -> [B, 1, ...]; an episode's final one at its end
    terminated_B: Tensor  # bool: the task ended. A limit of time doesn't
    is_expert_B: Tensor  # bool: from a demonstration
    rewards_B: Tensor | None  # the environment's; None: not read, as in all imitation
    extras: Mapping[str, Tensor]  # name -> [B], what was prepared for the update; empty off-policy
    num_parts: int = 1  # batches of streams that it consists of, one after another and of equal size

    def __len__(self) -> int:
        return len(self.terminated_B)


def of_batch(policy: Policy, batch: TransitionBatch, *, is_expert: bool) -> Transitions:
    """Return the transitions of a batch whose windows have one step.

    Args:
        policy: whose head's space the actions are moved to.
        batch: tensors.
        is_expert: whether they are demonstrations.
    """
    actions_BA = policy.actions.encode(batch.executed, batch.observations)[:, 0]
    if actions_BA.is_floating_point():
        actions_BA = actions_BA.clamp(-LABEL_LIMIT, LABEL_LIMIT)
    return Transitions(
        observations=batch.observations,
        actions_BA=actions_BA,
        next_observations=batch.next_observations,
        terminated_B=batch.terminated,
        is_expert_B=torch.full_like(batch.terminated, is_expert),
        rewards_B=None if batch.rewards is None else batch.rewards[:, 0],
        extras=getattr(batch, "extras", {}),
    )


def joined(first: Transitions, second: Transitions) -> Transitions:
    """Return the transitions of both, the first ones first."""

    def join(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.cat([value, b[name]]) for name, value in a.items()}

    rewards = None
    if first.rewards_B is not None and second.rewards_B is not None:
        rewards = torch.cat([first.rewards_B, second.rewards_B])
    return Transitions(
        observations=join(first.observations, second.observations),
        actions_BA=torch.cat([first.actions_BA, second.actions_BA]),
        next_observations=join(first.next_observations, second.next_observations),
        terminated_B=torch.cat([first.terminated_B, second.terminated_B]),
        is_expert_B=torch.cat([first.is_expert_B, second.is_expert_B]),
        rewards_B=rewards,
        extras=join(first.extras, second.extras),
        num_parts=first.num_parts + second.num_parts,
    )

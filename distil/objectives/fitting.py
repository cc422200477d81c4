"""Fitting a small policy to data in memory: the learner's step, without the learner's checkpoints, validation and reports."""

from __future__ import annotations

from collections.abc import Callable

from distil.objectives.base import DEMOS
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.supervised import Supervised
from distil.policies.policy import Policy
from distil.types import Batch


def fit(policy: Policy, draw: Callable[[], Batch], num_steps: int, optimiser: OptimiserConfig) -> Policy:
    """Train `policy`, whose statistics are fitted, in place; return a copy of it to be used, in evaluation mode.

    Args:
        policy: what to train.
        draw: returns the next batch, of tensors on the policy's device.
        num_steps: gradient steps.
        optimiser: how they are taken.
    """
    objective = Supervised(policy, optimiser)
    objective.begin(num_steps)
    for _ in range(num_steps):
        objective.step({DEMOS: draw()})
    return objective.evaluation_policy()

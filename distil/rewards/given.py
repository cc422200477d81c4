"""A reward that an earlier run learned, in the place of one that is learned now.

Legend: B batch, A action in the head's space.
"""

from __future__ import annotations

from typing import ClassVar

from distil.errors import RunError
from distil.policies.action_scaling import Actions
from distil.rewards.base import RewardModel, Rewards, Steps
from distil.rewards.frozen import FrozenReward, reward_of
from distil.rewards.ref import RewardRef


class GivenReward(RewardModel):
    """Rewards of a frozen reward: it standardises what it reads itself, and never changes.

    Args:
        ref: the reward.
        actions: the policy's, which says what an action in the head's space is in the environment's.
    """

    reads_features: ClassVar[bool] = False
    reads_next: ClassVar[bool] = True
    needs_demos: ClassVar[bool] = False

    def __init__(self, ref: RewardRef, actions: Actions) -> None:
        super().__init__()
        self.frozen: FrozenReward = reward_of(ref)
        self._actions = [actions]  # in a list: not among the modules

    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards.

        Raises:
            RunError: a step ended the task, and the reward says nothing of what follows an end.
        """
        if not self.frozen.spec.config.knows_ends and bool(steps.terminated_B.any()):
            raise RunError(
                "the task ended in a step of the learner, and algorithm.reward was learned without a reward of what follows an "
                "end: it would pay for an early end or for none, whatever the expert did; take one that was learned with "
                "algorithm.reward.ends=absorbing, or an environment that ends by its time limit only"
            )
        actions_BTA = self._actions[0].decode(steps.actions_BA[:, None], steps.observations)
        found: Rewards = self.frozen(steps.observations, actions_BTA, steps.next_observations)
        return found

import pytest
import torch
from rewardbed import steps

from distil.rewards.base import RewardModel, Rewards


class Total(RewardModel):
    """The sum of the features."""

    def forward(self, steps):
        rewards_B = steps.features_BF.sum(-1)
        return Rewards(rewards_B=rewards_B, absorbing_B=torch.zeros_like(rewards_B))


def test_a_model_that_only_says_rewards_is_fixed_and_reads_nothing_of_the_environment() -> None:
    model = Total()
    assert (model.is_learned, model.reads_rewards) == (False, False)
    assert model(steps(5)).rewards_B.shape == (5,)
    with pytest.raises(NotImplementedError):
        model.loss(steps(5), steps(5), torch.Generator())


def test_a_model_must_say_rewards() -> None:
    with pytest.raises(TypeError, match="forward"):
        type("Half", (RewardModel,), {})()

from dataclasses import replace

import torch
from rewardbed import steps

from distil.rewards.fixed import ConstantReward, EnvironmentReward


def test_the_constant_is_the_expert_s_for_ever() -> None:
    """Also in the absorbing state: a demonstration that ends is worth as much as one that doesn't (CORRECTNESS 17)."""
    expert = torch.tensor([True, False, True])
    rewards = ConstantReward()(replace(steps(3, ended=[0, 1]), is_expert_B=expert))
    assert rewards.rewards_B.tolist() == rewards.absorbing_B.tolist() == [1.0, 0.0, 1.0]


def test_the_environment_s_reward_ends_with_the_task() -> None:
    model, given = EnvironmentReward(), torch.tensor([2.0, -1.0])
    rewards = model(replace(steps(2, ended=[1]), rewards_B=given))
    assert model.reads_rewards
    assert torch.equal(rewards.rewards_B, given)
    assert rewards.absorbing_B.tolist() == [0.0, 0.0]

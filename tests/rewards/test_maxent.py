from dataclasses import replace

import torch
from rewardbed import steps

from distil.rewards.config import MaxEntConfig


def test_the_loss_is_the_gap_of_the_mean_rewards_with_their_squares() -> None:
    config = MaxEntConfig(gradient_penalty=0, square=0.3, sees="state")
    model = config.build(3, 2, torch.Generator().manual_seed(0))
    expert, agent = steps(4), replace(steps(4), features_BF=steps(4).features_BF + 1)
    ours, theirs = model(agent).rewards_B, model(expert).rewards_B
    loss, figures = model.loss(expert, agent, torch.Generator())
    gap = ours.mean() - theirs.mean()
    torch.testing.assert_close(loss, gap + 0.15 * (ours.square().mean() + theirs.square().mean()))
    torch.testing.assert_close(figures["reward_gap"], -gap.detach())


def test_an_end_counts_as_endless_steps_in_the_absorbing_state() -> None:
    config = MaxEntConfig(gradient_penalty=0, square=0)
    model = config.build(3, 2, torch.Generator().manual_seed(0))
    expert, agent = steps(4), steps(4, ended=[3])
    model.discount = 0.9
    rewards = model(expert)
    loss, _ = model.loss(expert, agent, torch.Generator())
    rest = 0.9 / (1 - 0.9)
    mean = (rewards.rewards_B.sum() + rest * rewards.absorbing_B[0]) / (4 + rest)
    torch.testing.assert_close(loss, mean - rewards.rewards_B.mean())


def test_the_absorbing_state_is_bounded_as_states_are() -> None:
    """Each end weighs many steps in the gap, so it does in the mean square: without that, its reward runs away."""
    model = MaxEntConfig(gradient_penalty=0, square=0.5).build(3, 2, torch.Generator().manual_seed(0))
    expert, agent = steps(4), steps(4, ended=[3])
    optimiser = torch.optim.Adam(model.parameters(), 3e-2)
    for _ in range(1000):
        loss, _ = model.loss(expert, agent, torch.Generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert -2.5 < float(model(agent).absorbing_B[0].detach()) < -1.5

from dataclasses import replace

import pytest
import torch
from rewardbed import steps

from distil.rewards.config import DiscriminatorConfig, MaxEntConfig


@pytest.mark.parametrize("config", [DiscriminatorConfig(gradient_penalty=1.0), MaxEntConfig(gradient_penalty=1.0)])
def test_it_learns_to_pay_for_what_the_expert_does(config: DiscriminatorConfig | MaxEntConfig) -> None:
    model = config.build(3, 2, torch.Generator().manual_seed(0))
    expert, agent = steps(64), steps(64)
    expert = replace(expert, features_BF=expert.features_BF + 2)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        loss, _ = model.loss(expert, agent, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert model(expert).rewards_B.mean() > model(agent).rewards_B.mean() + 1


@pytest.mark.parametrize("who", ["expert", "agent"])
def test_the_absorbing_state_is_worth_having_where_the_expert_ends_in_it(who: str) -> None:
    """CORRECTNESS 17: an end is good or bad as the demonstrations say, whatever the sign of the reward."""
    model = DiscriminatorConfig().build(3, 2, torch.Generator().manual_seed(0))
    ended = {name: steps(64, [10, 40] if name == who else None) for name in ("expert", "agent")}
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        loss, _ = model.loss(ended["expert"], ended["agent"], torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    rewards = model(steps(64))
    gain = (rewards.absorbing_B - rewards.rewards_B).mean().item()
    assert gain > 1 if who == "expert" else gain < -1


@pytest.mark.parametrize(("shape", "low", "high"), [("gail", 0, 10.1), ("airl", -10, 10), ("fairl", -3000, 3000)])
def test_rewards_are_bounded(shape: str, low: float, high: float) -> None:
    model = DiscriminatorConfig(shape=shape).build(3, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.network.last.weight.mul_(1e4)
    rewards = model(steps(50))
    for values in (rewards.rewards_B, rewards.absorbing_B):
        assert ((values >= low) & (values <= high)).all()


def test_without_an_absorbing_state_an_end_is_worth_nothing_more() -> None:
    model = DiscriminatorConfig(ends="done").build(3, 2, torch.Generator().manual_seed(0))
    assert model(steps(4, ended=[1])).absorbing_B.tolist() == [0.0] * 4


def test_a_saturated_one_is_noted() -> None:
    model = DiscriminatorConfig(gradient_penalty=0).build(3, 2, torch.Generator().manual_seed(0))
    model.saturation.accuracy.fill_(0.999)
    assert "99.9%" in model.notes()[0]

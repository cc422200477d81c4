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
        loss, _ = model.loss(expert, agent, 0.99, torch.Generator().manual_seed(0))
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
        loss, _ = model.loss(ended["expert"], ended["agent"], 0.99, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    absorbing = model(steps(4)).absorbing_B[0].item()
    assert absorbing > 1 if who == "expert" else absorbing < -1

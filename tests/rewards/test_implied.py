"""r(s, a, s') = Q(s, a) - discount * V(s'), by hand."""

from pathlib import Path

import torch
from learnedbed import own_rewards, rank_of, shown, transitions_of


def test_the_reward_of_a_policys_own_values(tmp_path: Path) -> None:
    objective, episode = rank_of(tmp_path, "iq")._objective, shown(tmp_path, "iq")
    steps, policy = transitions_of(objective, episode), objective.policy
    with torch.no_grad():
        now_BN, next_BN = (
            policy.head.logits(policy.encoder(seen))[:, 0, 0] for seen in (steps.observations, steps.next_observations)
        )
        value_B = 0.1 * now_BN.gather(1, steps.actions_BA)[:, 0]
        expected_B = value_B - 0.99 * 0.1 * next_BN.logsumexp(-1)
    torch.testing.assert_close(own_rewards(objective, episode).rewards_B, expected_B)


def test_the_reward_of_critics(tmp_path: Path) -> None:
    objective, episode = rank_of(tmp_path, "iq-sac")._objective, shown(tmp_path, "iq-sac")
    steps, policy, networks = transitions_of(objective, episode), objective.policy, objective._rl.networks
    alpha, generator = networks.log_alpha.detach().exp(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        features_BF = policy.encoder.features(steps.observations).flatten(1)
        value_B = networks.critics(torch.cat([features_BF, steps.actions_BA], -1)).mean(0)
        draws = [objective._rl._soft_values(networks.critics, steps.next_observations, alpha, generator) for _ in range(500)]
        expected_B = value_B - 0.99 * torch.stack(draws).mean((0, 1))
    found_B = own_rewards(objective, episode).rewards_B
    assert (found_B - expected_B).abs().mean() < 0.1 * expected_B.std() + 0.05
    assert torch.equal(found_B, own_rewards(objective, episode).rewards_B), "always the same draws"

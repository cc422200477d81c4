from dataclasses import replace

import numpy as np
import torch
from rewardbed import steps

from distil.rewards.base import Steps
from distil.rewards.config import AirlConfig

DISCOUNT = 0.9


def _model(**settings):
    model = AirlConfig(**settings).build(3, 2, torch.Generator().manual_seed(0))
    model.discount = DISCOUNT
    return model


def _episode(num: int, *, terminated: bool) -> Steps:
    """An episode whose every state is the one that the step before led to."""
    states = torch.randn(num + 1, 3, generator=torch.Generator().manual_seed(1))
    return replace(
        steps(num, ended=[num - 1] if terminated else []),
        features_BF=states[:-1],
        next_features_BF=states[1:],
        log_probs_B=torch.zeros(num),
    )


def test_the_shaping_telescopes_over_a_truncated_episode_and_ends_at_zero_in_a_terminated_one() -> None:
    """CORRECTNESS 19."""
    model, num = _model(), 6
    for terminated in (False, True):
        episode = _episode(num, terminated=terminated)
        shaping = model(episode).rewards_B - model.bare(episode)
        potential = model.potential(model.potential.inputs(episode))
        last = model.potential(model.potential.inputs(replace(episode, features_BF=episode.next_features_BF)))[-1]
        total = (DISCOUNT ** torch.arange(num) * shaping).sum()
        expected = -potential[0] if terminated else DISCOUNT**num * last - potential[0]
        torch.testing.assert_close(total, expected, atol=1e-5, rtol=0)


def test_the_bare_reward_has_no_potential_no_density_and_no_end() -> None:
    """CORRECTNESS 19."""
    model = _model(sees="state")
    episode = _episode(4, terminated=True)
    other = replace(
        episode,
        log_probs_B=torch.ones(4),
        terminated_B=torch.zeros(4, dtype=torch.bool),
        next_features_BF=torch.zeros(4, 3),
        actions_BA=torch.zeros(4, 2),
    )
    assert torch.equal(model.bare(episode), model.bare(other))
    alive = replace(episode, terminated_B=other.terminated_B, log_probs_B=None)
    assert torch.equal(model.elsewhere(alive).rewards_B, model.bare(episode))
    assert torch.equal(model.elsewhere(alive).absorbing_B, model(episode).absorbing_B)


def test_the_reward_is_the_logit_with_the_policy_s_density() -> None:
    model, episode = _model(), _episode(4, terminated=False)
    denser = replace(episode, log_probs_B=torch.full((4,), 0.5))
    torch.testing.assert_close(model(denser).rewards_B, model(episode).rewards_B - 0.5)


def test_it_learns_to_pay_for_what_the_expert_does() -> None:
    model = _model(gradient_penalty=1.0)
    agent = replace(steps(64), log_probs_B=torch.zeros(64))
    expert = replace(agent, features_BF=agent.features_BF + 2)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for i in range(200):
        loss, figures = model.loss(expert, agent, torch.Generator().manual_seed(i))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert model.bare(expert).mean() > model.bare(agent).mean() + 1
    assert figures["discriminator_accuracy"] > 0.9


def test_the_loss_is_the_cross_entropy_of_the_classifier_of_equation_4() -> None:
    """D = exp(f) / (exp(f) + pi)."""
    model = _model(gradient_penalty=0.0)
    expert, agent = _episode(5, terminated=False), replace(_episode(3, terminated=False), log_probs_B=torch.full((3,), -1.0))
    loss, _ = model.loss(expert, agent, torch.Generator())
    chances = []
    for seen in (expert, agent):
        f = (model(seen).rewards_B + seen.log_probs_B).detach().numpy()
        chances.append(np.exp(f) / (np.exp(f) + np.exp(seen.log_probs_B.numpy())))
    expected = -0.5 * (np.log(chances[0]).mean() + np.log(1 - chances[1]).mean())
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)

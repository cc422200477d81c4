from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from distil.heads.config import GaussianConfig
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.rewards.base import Steps
from distil.rewards.coherent import CoherentReward
from distil.rewards.config import CoherentConfig
from distil.spaces import action_spec, observation_spec

PRIOR = 1.0


def build(config: CoherentConfig, of: Policy) -> CoherentReward:
    made = config.build(of, 3, 2, torch.Generator().manual_seed(0))
    assert isinstance(made, CoherentReward)
    return made


def policy(seed: int = 0) -> Policy:
    config = PolicyConfig(encoder=MlpConfig(hidden=(32,)), head=GaussianConfig(min_log_std=-2.0))
    made = Policy(
        config, observation_spec(spaces.Box(-np.inf, np.inf, (3,), np.float32)), action_spec(spaces.Box(-1, 1, (2,))), seed=seed
    )
    rows = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype("f4")
    made.fit_normaliser({"obs": rows, "action": np.zeros((200, 2), "f4")})
    return made


def steps(of: Policy, obs: torch.Tensor, actions: torch.Tensor) -> Steps:
    seen = {"obs": obs[:, None]}
    features = of.encoder.features(seen).flatten(1)
    flags = torch.zeros(len(obs), dtype=torch.bool)
    return Steps(
        features_BF=features,
        actions_BA=actions,
        next_features_BF=features,
        terminated_B=flags,
        is_expert_B=flags,
        observations=seen,
    )


def shown(of: Policy, num: int = 64, seed: int = 0) -> Steps:
    """An expert's steps, at observations (x, -x, x): the action (x / 2, -x / 2)."""
    x = torch.rand(num, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return steps(of, torch.stack([x, -x, x], -1), torch.stack([x / 2, -x / 2], -1))


@pytest.fixture(scope="module")
def model() -> CoherentReward:
    start = policy()
    made = build(CoherentConfig(prior=PRIOR, noise=4.0), start)
    optimiser, generator = torch.optim.Adam(made.clone.parameters(), 1e-2), torch.Generator().manual_seed(0)
    for seed in range(400):
        loss, _ = made.clone_loss(shown(start, seed=seed), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made


def test_the_experts_action_pays_where_the_demonstrations_are(model: CoherentReward) -> None:
    seen = shown(policy(), seed=1000)
    others = replace(seen, actions_BA=seen.actions_BA + 0.4)
    expert, other = model(seen).rewards_B, model(others).rewards_B
    assert float(expert.mean()) > 1.2
    assert float(other.mean()) < 0


def test_off_the_demonstrations_no_action_pays(model: CoherentReward) -> None:
    obs = torch.tensor([[2.0, 2.0, 0.0], [-2.0, 1.0, 2.0]])
    for action in (-0.5, 0.0, 0.5):
        assert model(steps(policy(), obs, torch.full((2, 2), action))).rewards_B.max() < 0.8


def test_it_is_the_log_ratio_of_the_clone_and_a_prior_of_its_mean() -> None:
    """The Jacobians of the squashing cancel."""
    start = policy(3)
    made = build(CoherentConfig(prior=0.7, lowest=-50), start)
    seen = shown(start)
    mean, log_std = start.head.moments(start.encoder(seen.observations))
    u = seen.actions_BA.atanh()
    q = torch.distributions.Normal(mean[:, 0], log_std[:, 0].exp()).log_prob(u)
    p = torch.distributions.Normal(mean[:, 0], 0.7).log_prob(u)
    learned = made.refinement(seen).rewards_B
    torch.testing.assert_close(made(seen).rewards_B - learned, (q - p).mean(-1), rtol=1e-4, atol=1e-4)


def test_the_refinement_is_lowered_where_the_learner_is_and_the_clone_stays() -> None:
    start = policy(3)
    made, generator = build(CoherentConfig(), start), torch.Generator().manual_seed(0)
    expert, own = shown(start), steps(start, torch.full((64, 3), 2.0), torch.zeros(64, 2))
    before = {name: value.clone() for name, value in made.clone.state_dict().items()}
    optimiser = torch.optim.Adam(made.refinement.parameters(), 1e-2)
    for _ in range(100):
        loss, figures = made.loss(expert, own, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(figures["reward_gap"]) > 1
    assert float((made.refinement(expert).rewards_B.mean() - made.refinement(own).rewards_B.mean()).detach()) > 1
    assert all(torch.equal(value, before[name]) for name, value in made.clone.state_dict().items())


def test_what_the_clone_says_is_bounded_below_and_the_absorbing_state_is_the_refinements(model: CoherentReward) -> None:
    seen = shown(policy())
    other = replace(seen, actions_BA=torch.full_like(seen.actions_BA, -0.99))
    rewards, learned = model(other), model.refinement(other)
    assert float((rewards.rewards_B - learned.rewards_B).detach().min()) == pytest.approx(-2.0, abs=1e-5)
    assert torch.equal(rewards.absorbing_B, learned.absorbing_B)


def test_the_policy_becomes_the_clone(model: CoherentReward) -> None:
    started = policy(5)
    model.hand_over(started)
    assert all(map(torch.equal, started.state_dict().values(), model.clone.state_dict().values()))
    copy = build(CoherentConfig(), policy(6))
    copy.start_from(started)
    assert all(map(torch.equal, started.state_dict().values(), copy.clone.state_dict().values()))

import numpy as np
import pytest
import torch
from gymnasium import spaces
from interactionbed import policy_for, transitions_batch
from scipy import stats

from distil.errors import InputError
from distil.heads.config import AutoHeadConfig, ImportHeadConfig
from distil.objectives.build import build
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.rl_config import PpoConfig, SacConfig, SoftQConfig, StepConfig
from distil.objectives.transitions import of_batch
from distil.policies.config import MlpConfig, PolicyConfig, RelativeConfig
from distil.policies.policy import Policy
from distil.rewards.config import AirlConfig, ConstantConfig, DiscriminatorConfig, EnvironmentConfig, RewardConfig
from distil.spaces import action_spec, observation_spec

BOX, CHOICE = spaces.Box(-1, 1, (2,)), spaces.Discrete(3)


def _policy(action: spaces.Space, *, density: bool = True) -> Policy:
    config = PolicyConfig(encoder=MlpConfig(hidden=(8,)), head=AutoHeadConfig(density=density))
    return Policy(config, observation_spec(spaces.Box(-1, 1, (3,))), action_spec(action), seed=0)


def _build(step: StepConfig, reward: RewardConfig, action: spaces.Space, *, density: bool = True):
    return build(step, reward, _policy(action, density=density), OptimiserConfig(), Ranks(), 0)


@pytest.mark.parametrize("reward", [ConstantConfig(), DiscriminatorConfig()])
@pytest.mark.parametrize(
    ("step", "action"), [(SacConfig(), BOX), (PpoConfig(), BOX), (PpoConfig(), CHOICE), (SoftQConfig(), CHOICE)]
)
def test_every_step_takes_every_reward(step: StepConfig, reward: RewardConfig, action: spaces.Space) -> None:
    objective = _build(step, reward, action)
    assert set(objective.needs) == {"agent", "demos"}
    assert not any(needs["rewards"] for needs in objective.needs.values())


def test_the_environment_s_reward_needs_no_demonstrations() -> None:
    needs = _build(PpoConfig(), EnvironmentConfig(), CHOICE).needs
    assert list(needs) == ["agent"]
    assert needs["agent"]["rewards"]


@pytest.mark.parametrize(
    ("step", "action", "density", "words"),
    [
        (SacConfig(), CHOICE, True, "sac needs Box actions: use a step for Discrete ones"),
        (SacConfig(), BOX, False, "policy.head.kind=gaussian"),
        (PpoConfig(), BOX, False, "ppo needs a head with a density"),
        (SoftQConfig(), BOX, True, "one Discrete action"),
        (SoftQConfig(), spaces.MultiDiscrete([2, 3]), True, "one Discrete action"),
    ],
)
def test_a_step_that_does_not_fit_is_named(step: StepConfig, action: spaces.Space, density: bool, words: str) -> None:
    with pytest.raises(InputError, match=words):
        _build(step, ConstantConfig(), action, density=density)


def test_actions_relative_to_an_observation_are_learned_from_demonstrations_alone() -> None:
    config = PolicyConfig(encoder=MlpConfig(hidden=(8,)), actions=RelativeConfig(to="obs[0:2]"))
    policy = Policy(config, observation_spec(spaces.Box(-1, 1, (3,))), action_spec(BOX), seed=0)
    with pytest.raises(InputError, match=r"policy.actions.kind=relative: .*; leave it at absolute"):
        build(SacConfig(), ConstantConfig(), policy, OptimiserConfig(), Ranks(), 0)


def test_a_head_that_is_fitted_on_labels_learns_from_demonstrations_alone() -> None:
    head = ImportHeadConfig(target="headbed:Fitted")
    policy = Policy(PolicyConfig(head=head), observation_spec(spaces.Box(-1, 1, (3,))), action_spec(BOX), seed=0)
    with pytest.raises(InputError, match=r"policy.head.kind=import is fitted on .*; leave it at auto"):
        build(PpoConfig(), ConstantConfig(), policy, OptimiserConfig(), Ranks(), 0)


def test_the_seed_gives_the_start_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        made = build(SacConfig(), DiscriminatorConfig(), _policy(BOX), OptimiserConfig(), Ranks(), seed)
        tensors = made.state_dict().tensors
        return torch.cat([value.flatten() for name, value in sorted(tensors.items()) if name.startswith(("rl.", "reward."))])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_reward_sees_the_density_of_the_policy_as_it_is_now() -> None:
    """CORRECTNESS 18: squash-corrected, without a gradient, by change of variables."""
    policy = policy_for(BOX)
    objective = build(PpoConfig(), AirlConfig(), policy, OptimiserConfig(), Ranks(), 0)
    batch = transitions_batch([[0.3, -0.8], [-0.1, 0.6]])
    found = []
    for _ in range(2):
        log_probs = objective._judge._steps(of_batch(policy, batch, is_expert=False)).log_probs_B
        assert not log_probs.requires_grad
        mean, log_std = (x.detach().numpy()[:, 0] for x in policy.head.moments(policy.encoder(batch.observations)))
        actions = batch.executed[:, 0].numpy()
        density = stats.norm.logpdf(np.arctanh(actions), mean, np.exp(log_std)) - np.log1p(-(actions**2))
        np.testing.assert_allclose(log_probs.numpy(), density.sum(1), rtol=1e-4)
        found.append(log_probs)
        with torch.no_grad():
            policy.head.linear.bias.add_(0.3)
    assert not torch.equal(*found)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from interactionbed import policy_for, transitions_batch

from distil.config import validate
from distil.learners.config import LearnerConfig
from distil.objectives.config import InteractionConfig
from distil.objectives.judge import Judge
from distil.objectives.ranks import ALONE
from distil.objectives.transitions import AGENT, Transitions, of_batch
from distil.policies.policy import Policy
from distil.rewards.base import RewardModel, Rewards, Steps
from distil.rewards.config import MaxEntConfig

BOX, CHOICE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)
SETTINGS = LearnerConfig(learning_rate=1e-2, weight_decay=0.0, grad_clip=None, schedule="constant", warmup_steps=0)


class Seen(RewardModel):
    """Keeps the steps that it is shown."""

    def __init__(self, *, reads: bool = True, densities: bool = False) -> None:
        super().__init__()
        self.reads_features, self.needs_log_probs = reads, densities  # type: ignore[misc]
        self.steps = list[Steps]()

    def forward(self, steps: Steps) -> Rewards:
        self.steps.append(steps)
        zeros_B = torch.zeros(len(steps.terminated_B))
        return Rewards(rewards_B=zeros_B, absorbing_B=zeros_B)


def transitions(policy: Policy, actions: Any) -> Transitions:
    return of_batch(policy, transitions_batch(actions), is_expert=False)


def seen(action: spaces.Space[Any], actions: Any, **keys: bool) -> tuple[Policy, Transitions, Steps]:
    policy, model = policy_for(action), Seen(**keys)
    batch = transitions(policy, actions)
    Judge(policy, model, SETTINGS, ALONE, rate=0.0).rewards(batch)
    return policy, batch, model.steps[0]


def test_a_model_sees_one_hot_choices_and_standardised_features() -> None:
    policy, batch, steps = seen(CHOICE, [[0], [1], [1]])
    assert steps.actions_BA.tolist() == [[1, 0], [0, 1], [0, 1]]
    torch.testing.assert_close(steps.features_BF, policy.encoder.features(batch.observations).flatten(1))
    assert steps.log_probs_B is None


def test_a_model_is_frozen_with_its_configuration_only() -> None:
    policy, config = policy_for(CHOICE), MaxEntConfig(hidden=(4,))
    model = config.build(policy.encoder.features.size, 2, torch.Generator().manual_seed(0))
    frozen = Judge(policy, model, SETTINGS, ALONE, rate=1.0, config=config).frozen()
    assert frozen is not None
    assert frozen.spec.config == config
    torch.testing.assert_close(frozen.model.state_dict(), model.state_dict())
    assert Judge(policy, model, SETTINGS, ALONE, rate=1.0).frozen() is None


def test_a_model_that_reads_no_features_gets_none() -> None:
    _, batch, steps = seen(CHOICE, [[0], [1]], reads=False)
    assert steps.features_BF.shape == (2, 0)
    assert torch.equal(steps.actions_BA, batch.actions_BA)


def test_densities_are_those_of_the_policy_as_it_is() -> None:
    """CORRECTNESS 18."""
    policy, _, steps = seen(CHOICE, [[0], [1]], densities=True)
    assert steps.log_probs_B is not None
    logits_BN = policy.head.logits(policy.encoder(steps.observations))[:, 0, 0]  # type: ignore[operator]
    torch.testing.assert_close(steps.log_probs_B, logits_BN.log_softmax(-1).gather(1, torch.tensor([[0], [1]]))[:, 0])
    assert not steps.log_probs_B.requires_grad


@pytest.mark.parametrize("kind", ["constant", "discriminator", "pwil"])
def test_only_a_model_that_learns_has_an_optimiser_and_improves(kind: str) -> None:
    parts = {"step": {"kind": "sac"}, "reward": {"kind": kind}}
    config, policy = validate(InteractionConfig, parts).reward, policy_for(BOX)
    model = config.build(policy.encoder.features.size, 2, torch.Generator().manual_seed(0))  # type: ignore[call-arg,arg-type]
    judge = Judge(policy, model, SETTINGS, ALONE, rate=0.5)
    before = {name: value.clone() for name, value in model.named_parameters()}
    shown, own = transitions(policy, [[0.1, 0.2], [0.3, 0.1]]), transitions(policy, [[-0.5, 0.2], [0.1, 0.0]])
    figures = judge.improve(shown, own, 1e-2, torch.Generator().manual_seed(0))
    learns = kind == "discriminator"
    assert (list(judge.trained), "reward_loss" in figures) == (["reward"] if learns else [], learns)
    moved = [float((value - before[name]).detach().abs().max()) for name, value in model.named_parameters()]
    assert all(0 < size <= 0.5 * 1e-2 * 1.01 for size in moved)  # the first step of Adam: at most the learning rate


def test_sources_stay_as_they_are_unless_the_model_gives_rewards_of_episodes() -> None:
    judge = Judge(policy_for(BOX), Seen(), SETTINGS, ALONE, rate=0.0)
    sources: dict[str, Any] = {AGENT: object()}
    assert judge.prepare(sources) is sources


def test_a_clone_and_what_is_learned_beside_it_have_optimisers_of_their_own() -> None:
    """The clone learns before the learner acts, the refinement afterwards; neither moves the other."""
    policy = policy_for(BOX)
    config = validate(InteractionConfig, {"step": {"kind": "sac"}, "reward": {"kind": "coherent"}}).reward
    model = config.build(policy, policy.encoder.features.size, 2, torch.Generator().manual_seed(0))  # type: ignore[call-arg,arg-type]
    judge, generator = Judge(policy, model, SETTINGS, ALONE, rate=0.5, clone_rate=0.1), torch.Generator().manual_seed(0)
    expert, own = transitions(policy, [[0.1, 0.2], [0.3, 0.1]]), transitions(policy, [[-0.5, 0.2], [0.1, 0.0]])

    def moved(before: dict[str, torch.Tensor]) -> set[str]:
        return {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}

    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    judge.clone(expert, 1e-2, generator)
    assert moved(before) == {"clone"}
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    judge.improve(expert, own, 1e-2, generator)
    assert moved(before) == {"refinement"}

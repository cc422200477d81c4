import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from stepbed import BOX, PLAIN, RATE, continued, policy, rewards, tensors, transitions

from distil.objectives.gae import advantages
from distil.objectives.ppo import Ppo
from distil.objectives.ranks import ALONE
from distil.objectives.rl_config import PpoConfig
from distil.objectives.transitions import Transitions
from distil.policies.policy import Policy
from distil.rewards.base import Rewards

SPACES = [gym.spaces.Discrete(3), gym.spaces.MultiDiscrete([2, 4]), BOX]
ENDS = torch.zeros(32, dtype=torch.bool)
ENDS[[9, 20, 31]] = True


def ppo(of: Policy, seed: int = 0, **keys) -> Ppo:
    return Ppo(PpoConfig(**{"hidden": (16,), **keys}), of, PLAIN, ALONE, torch.Generator().manual_seed(seed))


def prepared(step: Ppo, seen: Transitions, reward: Rewards | None = None, ends: torch.Tensor = ENDS) -> Transitions:
    found = step.prepare(seen, ends, lambda _: reward or rewards(len(seen)))
    return replace(seen, extras={name: torch.from_numpy(value) for name, value in found.items()})


def value(step: Ppo, of: Policy, observations) -> torch.Tensor:
    """V in the units of rewards."""
    features = of.encoder.features(observations).flatten(1)
    return (step.networks.value(features)[0] * step.networks.std + step.networks.mean).detach()


@pytest.mark.parametrize("space", SPACES)
def test_rows_are_prepared_with_old_log_probabilities_and_advantages(space: gym.Space) -> None:
    """CORRECTNESS 21: an episode that ends by truncation keeps discount * V; one that terminates has the absorbing state's."""
    of = policy(space)
    step, seen = ppo(of), transitions(of, ended=[9])
    reward = rewards(absorbing=0.02)
    now, following = value(step, of, seen.observations), value(step, of, seen.next_observations)
    following[9] = 0.02 / (1 - 0.99)
    want = advantages(np.ones(32), now.numpy(), following.numpy(), ENDS.numpy(), discount=0.99, trace=0.95)
    rows = prepared(step, seen, reward)
    log_prob = of.head.log_prob(of.encoder(seen.observations), seen.actions_BA[:, None])[:, 0]
    torch.testing.assert_close(rows.extras["log_prob"], log_prob.detach())
    close = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(rows.extras["advantage"], (want - want.mean()) / want.std(), **close)
    returns = rows.extras["return"] * step.networks.std + step.networks.mean
    np.testing.assert_allclose(returns, want + now.numpy(), **close)
    assert float(rows.extras["return"].mean()) == pytest.approx(0, abs=1e-5)
    assert float(rows.extras["return"].std(unbiased=False)) == pytest.approx(1, abs=1e-4)


def test_another_scale_of_returns_leaves_the_values_as_they_are() -> None:
    of = policy()
    step, seen = ppo(of), transitions(of)
    before = value(step, of, seen.observations)
    for size in (100.0, 0.1):
        prepared(step, seen, rewards(value=size))
        torch.testing.assert_close(value(step, of, seen.observations), before, rtol=1e-3, atol=1e-3)
        assert float(step.networks.std) > size / 2


@pytest.mark.parametrize("space", SPACES)
def test_a_step_descends_the_clipped_surrogate(space: gym.Space) -> None:
    """Against the loss written out, with the ratio off 1 on both sides of the clip."""
    of = policy(space)
    step = ppo(of, clip=0.1)
    rows = prepared(step, transitions(of))
    shift = torch.linspace(-0.3, 0.3, 32)
    rows = replace(rows, extras={**rows.extras, "log_prob": rows.extras["log_prob"] - shift})
    log_prob = of.head.log_prob(of.encoder(rows.observations), rows.actions_BA[:, None])[:, 0]
    ratio, gain = (log_prob - rows.extras["log_prob"]).exp(), rows.extras["advantage"]
    loss = -torch.minimum(ratio * gain, ratio.clamp(0.9, 1.1) * gain).mean()
    weights = dict(of.named_parameters())
    gradients = torch.autograd.grad(loss, list(weights.values()))
    figures = step.learn(rows, rewards(), RATE, torch.Generator())
    assert float(figures["actor_loss"]) == pytest.approx(float(loss.detach()), abs=1e-5)
    assert float(figures["clipped"]) == pytest.approx(((ratio - 1).abs() > 0.1).float().mean().item())
    moments = step.optimisers()["both"]
    for name, gradient in zip(weights, gradients, strict=True):
        torch.testing.assert_close(moments[f"first.policy.{name}"] / 0.1, gradient, rtol=1e-3, atol=1e-6)


def test_beyond_the_clip_there_is_no_gradient() -> None:
    of = policy(gym.spaces.Discrete(3))
    step = ppo(of)
    rows = prepared(step, transitions(of))
    gain = rows.extras["advantage"].sign()
    rows = replace(rows, extras={**rows.extras, "log_prob": rows.extras["log_prob"] - gain, "advantage": gain})
    before = tensors(step, of)
    step.learn(rows, rewards(), RATE, torch.Generator())
    after = tensors(step, of)
    assert all(torch.equal(held, after[name]) for name, held in before.items() if name.startswith("policy."))
    assert not torch.equal(before["networks.value.weights.0"], after["networks.value.weights.0"])


@pytest.mark.parametrize("space", SPACES)
def test_it_finds_the_actions_that_pay(space: gym.Space) -> None:
    of = policy(space)
    step, generator = ppo(of, discount=0.0), torch.Generator().manual_seed(0)

    def paid(actions: torch.Tensor) -> torch.Tensor:
        return (actions[:, 0] > 0).float()

    for i in range(30):
        seen = transitions(of, 128, seed=i)
        with torch.no_grad():
            noise = torch.randn if of.head.noise_kind == "normal" else torch.rand
            actions = of.plan(seen.observations, noise(128, of.head.noise_size, generator=generator))[:, 0]
        seen = replace(seen, actions_BA=actions if actions.dtype == torch.int64 else actions.clamp(-0.999, 0.999))
        reward = Rewards(rewards_B=paid(actions), absorbing_B=torch.zeros(128))
        rows = prepared(step, seen, reward, torch.ones(128, dtype=torch.bool))
        for _ in range(8):
            step.learn(rows, reward, 1e-2, generator)
    assert float(paid(actions).mean()) > 0.9


@pytest.mark.parametrize("space", SPACES)
def test_the_bonus_raises_the_entropy(space: gym.Space) -> None:
    of = policy(space)
    with torch.no_grad():
        of.head.linear.bias.copy_(torch.linspace(-1, 1, len(of.head.linear.bias)))
    step, generator = ppo(of, entropy=10.0), torch.Generator().manual_seed(0)
    rows = prepared(step, transitions(of))
    figures = [float(step.learn(rows, rewards(), RATE, generator)["entropy"]) for _ in range(100)]
    assert sum(figures[-10:]) / 10 > sum(figures[:10]) / 10 + 0.05
    if of.action.leaf.nvec:
        assert max(figures) <= math.log(math.prod(of.action.leaf.nvec)) + 1e-5


def test_a_loaded_step_continues_exactly() -> None:
    """The scale of returns and all moments are in the checkpoint."""
    first, second = policy(), policy(seed=1)
    ours, theirs = ppo(first), ppo(second, seed=1)
    rows = prepared(ours, transitions(first), rewards(value=30.0))
    for _ in range(3):
        ours.learn(rows, rewards(), RATE, torch.Generator())
    continued(ours, first, theirs, second)
    for step in (ours, theirs):
        step.learn(rows, rewards(), RATE, torch.Generator())
    after = tensors(theirs, second)
    assert all(torch.equal(held, after[name]) for name, held in tensors(ours, first).items())
    again = [step.prepare(transitions(first), ENDS, lambda _: rewards()) for step in (ours, theirs)]
    assert all(np.array_equal(held, again[1][name]) for name, held in again[0].items())

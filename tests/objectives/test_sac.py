import copy
import math
from dataclasses import replace

import pytest
import torch
from stepbed import PLAIN, RATE, continued, policy, rewards, tensors, transitions
from torch import nn

from distil.objectives.ranks import ALONE
from distil.objectives.rl_config import SacConfig
from distil.objectives.sac import Sac
from distil.objectives.transitions import Transitions
from distil.policies.policy import Policy
from distil.rewards.base import Rewards

FIXED = {"automatic": False, "temperature": 1e-6, "hidden": (32,)}


def sac(of: Policy, seed: int = 0, **keys) -> Sac:
    return Sac(SacConfig(**{"hidden": (16, 8), **keys}), of, PLAIN, ALONE, torch.Generator().manual_seed(seed))


def values(step: Sac, of: Policy, seen: Transitions) -> torch.Tensor:
    features = of.encoder.features(seen.observations).flatten(1)
    return step.networks.critics(torch.cat([features, seen.actions_BA], -1)).detach()


@pytest.mark.parametrize(
    ("ended", "absorbing", "value"),
    [(0, 0.0, 2.0), (32, 0.0, 1.0), (32, 0.5, 1.5)],  # 1 in each step for ever; once; then 0.5 for ever, discounted by half
)
def test_values_go_on_after_a_truncation_and_end_with_the_task(ended: int, absorbing: float, value: float) -> None:
    """CORRECTNESS 21: the target keeps discount * V unless the task ended; then comes the absorbing state."""
    of = policy()
    step = sac(of, discount=0.5, target_rate=0.2, **FIXED)
    seen = transitions(of, ended=range(ended))
    for _ in range(150):
        step.learn(seen, rewards(absorbing=absorbing), 1e-2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(values(step, of, seen).mean(1), torch.full((2,), value), atol=0.1, rtol=0)


class Reference:
    """Soft actor-critic with networks of their own, each loss written out, each gradient taken for one network alone."""

    def __init__(self, of: Policy, step: Sac) -> None:
        self.policy, self.config = copy.deepcopy(of), step._config
        self.critics = [self._critic(step, i) for i in range(self.config.num_critics)]
        self.targets = copy.deepcopy(self.critics)
        self.log_alpha = step.networks.log_alpha.detach().clone().requires_grad_()
        both = [p for critic in self.critics for p in critic.parameters()]
        found = [self.policy.parameters(), both, [self.log_alpha]]
        self.actor_adam, self.critic_adam, self.alpha_adam = (torch.optim.Adam(each, RATE) for each in found)
        self.actor_adam.param_groups[0]["lr"] = RATE * step._config.actor_rate

    def _critic(self, step: Sac, index: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for weight, bias in zip(step.networks.critics.weights, step.networks.critics.biases, strict=True):
            layer = nn.Linear(*weight.shape[1:])
            layer.weight.data, layer.bias.data = weight[index].detach().T.clone(), bias[index, 0].detach().clone()
            layers += [layer, nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def draw(self, observations, generator):
        context = self.policy.encoder(observations)
        noise = torch.randn(len(context.pooled_BD), self.policy.head.noise_size, generator=generator)
        actions = self.policy.head.sample_from(context, noise)
        return actions[:, 0], self.policy.head.log_prob(context, actions)[:, 0]

    def read(self, critics, observations, actions):
        x = torch.cat([self.policy.encoder.features(observations).flatten(1), actions], -1)
        out = torch.stack([critic(x)[:, 0] for critic in critics])
        return {"min": lambda: out.min(0).values, "mean": lambda: out.mean(0), "pairs": lambda: self.optimist(out)}[
            self.config.combine
        ]()

    def optimist(self, out):
        pairs = torch.stack([torch.minimum(out[0], out[1]), torch.minimum(out[2], out[3])])
        return pairs.mean(0) + self.config.optimism * pairs.std(0).clamp(max=self.config.max_bonus)

    def future(self, index, observations, actions):
        """What the target of one critic is made of: in pairs, the minimum of its own pair."""
        if self.config.combine != "pairs":
            return self.read(self.targets, observations, actions)
        x = torch.cat([self.policy.encoder.features(observations).flatten(1), actions], -1)
        first = index - index % 2
        return torch.minimum(*(self.targets[i](x)[:, 0] for i in (first, first + 1)))

    def learn(self, seen, reward, generator):
        alpha = self.log_alpha.exp().item()
        with torch.no_grad():
            actions, log_prob = self.draw(seen.next_observations, generator)
            targets = []
            for index in range(self.config.num_critics):
                future = self.future(index, seen.next_observations, actions) - alpha * log_prob
                future[seen.terminated_B] = 0.0
                targets.append(reward + self.config.discount * future)
        x = torch.cat([self.policy.encoder.features(seen.observations).flatten(1), seen.actions_BA], -1)
        loss = sum(((critic(x)[:, 0] - target) ** 2).mean() for critic, target in zip(self.critics, targets, strict=True))
        self._descend(loss, self.critic_adam)
        actions, log_prob = self.draw(seen.observations, generator)
        self._descend((alpha * log_prob - self.read(self.critics, seen.observations, actions)).mean(), self.actor_adam)
        if self.config.automatic:
            entropy = -log_prob.detach().mean()
            self._descend(self.log_alpha * (entropy + actions.shape[1]), self.alpha_adam)
        with torch.no_grad():
            for target_net, net in zip(self.targets, self.critics, strict=True):
                for slow, fast in zip(target_net.parameters(), net.parameters(), strict=True):
                    slow += self.config.target_rate * (fast - slow)

    def _descend(self, loss, adam):
        params = [p for group in adam.param_groups for p in group["params"]]
        for param, gradient in zip(params, torch.autograd.grad(loss, params), strict=True):
            param.grad = gradient
        adam.step()


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"num_critics": 3, "combine": "mean", "automatic": False, "actor_rate": 0.3},
        {"num_critics": 4, "combine": "pairs", "optimism": 2.0, "max_bonus": 0.02},
    ],
)
def test_a_step_is_that_of_the_algorithm_written_out(keys: dict) -> None:
    """CORRECTNESS 18: each loss moves its own network only, and log pi has the squashing's correction."""
    of = policy()
    step = sac(of, **keys)
    theirs = Reference(of, step)
    ours, other = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    for i in range(4):
        seen = transitions(of, ended=[3, 7], seed=i)
        step.learn(seen, rewards(), RATE, ours)
        theirs.learn(seen, 1.0, other)
    close = {"rtol": 1e-3, "atol": 2e-5}
    for name, value in theirs.policy.named_parameters():
        torch.testing.assert_close(of.state_dict()[name], value.detach(), **close)
    torch.testing.assert_close(step.networks.log_alpha.detach(), theirs.log_alpha.detach(), **close)
    for i in range(step._config.num_critics):
        for ours_net, their_net in ((step.networks.critics, theirs.critics[i]), (step.networks.targets, theirs.targets[i])):
            for depth, weight in enumerate(ours_net.weights):
                torch.testing.assert_close(weight[i].detach().T, their_net[2 * depth].weight.detach(), **close)


@pytest.mark.parametrize(("target", "sign"), [(0.5, -1), (2.0, 1)])
def test_the_temperature_moves_so_that_the_entropy_nears_its_target(target: float, sign: int) -> None:
    of = policy()
    step = sac(of, target_entropy=target)
    before = step.networks.log_alpha.item()
    for i in range(5):
        step.learn(transitions(of, seed=i), rewards(), RATE, torch.Generator().manual_seed(0))
    assert sign * (step.networks.log_alpha.item() - before) > 4 * RATE


def test_a_loaded_step_continues_exactly() -> None:
    """Targets, the temperature and all moments are in the checkpoint."""
    first, second = policy(), policy(seed=1)
    ours, theirs = sac(first), sac(second, seed=1)
    generator = torch.Generator().manual_seed(0)
    for i in range(5):
        ours.learn(transitions(first, seed=i), rewards(), RATE, generator)
    continued(ours, first, theirs, second)
    held = tensors(theirs, second)
    assert {"networks.log_alpha", "networks.targets.weights.0", "temperature.first.log_alpha"} <= held.keys()
    for step, of in ((ours, first), (theirs, second)):
        step.learn(transitions(of, seed=9), rewards(), RATE, torch.Generator().manual_seed(1))
    after = tensors(theirs, second)
    assert all(torch.equal(value, after[name]) for name, value in tensors(ours, first).items())
    still = {name for name, value in after.items() if torch.equal(value, held[name])}
    assert all(name.startswith(("policy.encoder.features", "policy.actions")) for name in still)  # all else has moved


@pytest.mark.parametrize(("anchor", "near"), [(0.0, False), (3.0, True)])
def test_an_anchor_keeps_the_policy_near_the_demonstrations(anchor: float, near: bool) -> None:
    """The critics are taught that the demonstrations' actions are worst; the anchor's weight is relative to their size."""
    of = policy()
    step = sac(of, anchor=anchor, discount=0.0, **FIXED)
    both, half = transitions(of), torch.arange(32) < 16
    seen = replace(both, is_expert_B=half, actions_BA=torch.where(half[:, None], 0.4, both.actions_BA))
    paid = Rewards(rewards_B=1000 * (seen.actions_BA - 0.4).square().sum(-1), absorbing_B=torch.zeros(32))
    for seed in range(300):
        step.learn(seen, paid, 1e-2, torch.Generator().manual_seed(seed))
    point = of.head.point(of.encoder(both.observations))[half, 0]
    assert (float((point - 0.4).abs().mean().detach()) < 0.1) == near


def test_weight_decay_leaves_the_temperature_alone() -> None:
    of = policy()
    config, decayed = SacConfig(hidden=(8,), temperature=1e-3), PLAIN.model_copy(update={"weight_decay": 100.0})
    step = Sac(config, of, decayed, ALONE, torch.Generator().manual_seed(0))
    step.learn(transitions(of), rewards(), RATE, torch.Generator().manual_seed(0))
    assert abs(step.networks.log_alpha.item() - math.log(1e-3)) < 2 * RATE

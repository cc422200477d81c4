"""Soft actor-critic for Box actions (Haarnoja et al., 2018, arXiv:1812.05905).

Legend: B batch, F features, A action dimension, N critics, K noise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distil.heads.gaussian import GaussianHead
from distil.nn.critics import Critics
from distil.objectives.inverse_q import inverse_loss
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.rl_config import SacConfig
from distil.objectives.steps import RLStep
from distil.objectives.trained import Trained, follow
from distil.objectives.transitions import Transitions
from distil.policies.policy import Policy
from distil.rewards.base import Rewards
from distil.rewards.config import CriticsConfig, ImpliedConfig
from distil.rewards.implied import CriticsReward, ImpliedReward


class _Networks(nn.Module):
    """What SAC has besides the policy."""

    def __init__(self, critics: Critics, temperature: float) -> None:
        super().__init__()
        self.critics, self.targets = critics, copy.deepcopy(critics).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(temperature)))


class Sac(RLStep):
    """N critics in one batched network, a tanh-squashed Gaussian policy, a temperature that keeps the entropy at its target.

    Args:
        config: the settings.
        policy: with a Gaussian head; trained in place.
        optimiser: weight decay and clipping of all optimisers.
        ranks: the group.
        generator: of the critics' start weights.
    """

    def __init__(
        self, config: SacConfig, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, generator: torch.Generator
    ) -> None:
        assert isinstance(policy.head, GaussianHead)
        self._config, self._policy, self._head, self._ranks = config, policy, policy.head, ranks
        self._num_parts = 1  # of the batch, see `Transitions`
        self.discount = config.discount
        num_action = math.prod(policy.action.leaf.shape)
        num_in = policy.encoder.features.size + num_action
        critics = Critics(num_in, config.hidden, config.num_critics, generator, standardised=config.layer_norm)
        self.networks: _Networks = _Networks(critics, config.temperature).to(ranks.device)
        self._target_entropy = -float(num_action) if config.target_entropy is None else config.target_entropy
        actor = {name: value for name, value in policy.named_parameters() if value.requires_grad}
        self._actor = Trained(actor, optimiser, ranks)
        self._critic = Trained(dict(self.networks.critics.named_parameters()), optimiser, ranks)
        plain = optimiser.model_copy(update={"weight_decay": 0.0, "grad_clip": None})  # log alpha = 0 is no better than others
        self._temperature = Trained({"log_alpha": self.networks.log_alpha}, plain, ranks)

    def learn(
        self, transitions: Transitions, rewards: Rewards | None, learning_rate: float, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Step the critics, the policy and the temperature once each, and move the targets."""
        assert rewards is not None
        networks, config, self._num_parts = self.networks, self._config, transitions.num_parts
        features_BF = self._features(transitions.observations)
        alpha = networks.log_alpha.detach().exp()
        values_NB = networks.critics(torch.cat([features_BF, transitions.actions_BA], -1))
        figures: Mapping[str, Tensor] = {}
        if config.loss == "td":
            targets_NB = self._targets(transitions, rewards, alpha, generator)
            critic_loss = (values_NB - targets_NB).square().mean(1).sum()
        else:
            critic_loss, figures = self._inverse_loss(values_NB, transitions, alpha, generator)
        self._critic.minimise(critic_loss, learning_rate)
        actions_BA, log_prob_B = self._draw(transitions.observations, generator)
        now_NB = networks.critics(torch.cat([features_BF, actions_BA], -1))
        actor_loss = (alpha * log_prob_B - self._judged(now_NB)).mean()
        if config.anchor:
            actor_loss = actor_loss / now_NB.detach().abs().mean() + config.anchor * self._distance(transitions)
        entropy = -log_prob_B.detach().mean()
        is_moving = not config.actor_from or self._critic.num_steps > config.actor_from
        if is_moving:
            self._actor.minimise(actor_loss, learning_rate * config.actor_rate)
        if is_moving and config.automatic:
            self._temperature.minimise(networks.log_alpha * (entropy - self._target_entropy), learning_rate)
        follow(networks.targets, networks.critics, config.target_rate)
        return {
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "value": values_NB.detach().mean(),
            "entropy": entropy,
            "temperature": alpha,
            **figures,
        }

    def implied(self) -> tuple[ImpliedConfig, ImpliedReward] | None:
        """Return the reward that the critics imply, unless they learn from rewards."""
        config = self._config
        if config.loss == "td":
            return None
        model = CriticsReward(self._policy, self.networks.critics)
        model.temperature.copy_(self.networks.log_alpha.detach().exp())
        return ImpliedConfig(
            critics=CriticsConfig(hidden=config.hidden, num=config.num_critics, layer_norm=config.layer_norm)
        ), model

    def _distance(self, transitions: Transitions) -> Tensor:
        """Return the mean square distance, in tenths, of the policy's default actions from those of the demonstrations.

        Next to values that are divided by their mean size, as in TD3+BC (Fujimoto and Gu, 2021, equation 5).
        """
        point_BA = self._head.point(self._policy.encoder(transitions.observations))[:, 0]
        squares_B = (10 * (point_BA - transitions.actions_BA)).square().mean(-1)
        expert_B = transitions.is_expert_B
        return (squares_B * expert_B).sum() / expert_B.sum().clamp(min=1)

    def _inverse_loss(
        self, values_NB: Tensor, transitions: Transitions, alpha: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the sum of the critics' losses of `inverse_loss`; soft values are those of one sample of the policy."""
        now_NB = self._soft_values(self.networks.critics, transitions.observations, alpha, generator)
        next_NB = self._soft_values(self.networks.targets, transitions.next_observations, alpha, generator)
        found = [
            inverse_loss(self._config, value_B, now_B, next_B, transitions, self.discount)
            for value_B, now_B, next_B in zip(values_NB, now_NB, next_NB, strict=True)
        ]
        return torch.stack([loss for loss, _ in found]).sum(), found[0][1]

    def _soft_values(
        self, critics: Critics, observations: Mapping[str, Tensor], alpha: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return Q(s, a) - alpha log pi(a|s) of each critic for a sample a of the policy, [N, B]."""
        with torch.no_grad():
            actions_BA, log_prob_B = self._draw(observations, generator)
        values_NB: Tensor = critics(torch.cat([self._features(observations), actions_BA], -1))
        return values_NB - alpha * log_prob_B

    @torch.no_grad()
    def _targets(self, transitions: Transitions, rewards: Rewards, alpha: Tensor, generator: torch.Generator) -> Tensor:
        """Return r + discount * V(next), [1, B] or one for each critic, [N, B].

        V is the absorbing state's value after the task's end, and the usual one after a limit of time.
        """
        actions_BA, log_prob_B = self._draw(transitions.next_observations, generator)
        features_BF = self._features(transitions.next_observations)
        values_NB = self._combined(self.networks.targets(torch.cat([features_BF, actions_BA], -1)))
        next_NB = torch.where(transitions.terminated_B, self.after_end(rewards), values_NB - alpha * log_prob_B)
        targets_NB = rewards.rewards_B + self.discount * next_NB
        return targets_NB.repeat_interleave(2, 0) if self._config.combine == "pairs" else targets_NB

    def _combined(self, values_NB: Tensor) -> Tensor:
        """Return the critics as one, [1, B], or each pair as one, [N / 2, B]."""
        if self._config.combine == "pairs":
            return values_NB.view(-1, 2, values_NB.shape[1]).amin(1)
        return values_NB.amin(0, keepdim=True) if self._config.combine == "min" else values_NB.mean(0, keepdim=True)

    def _judged(self, values_NB: Tensor) -> Tensor:
        """Return the value that the policy is improved by, [B]."""
        values_PB = self._combined(values_NB)
        if not self._config.optimism:
            return values_PB.mean(0)
        return values_PB.mean(0) + self._config.optimism * values_PB.std(0).clamp(max=self._config.max_bonus)

    def _features(self, observations: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = self._policy.encoder.features(observations)
        return out.flatten(1)

    def _draw(self, observations: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a sample of the policy at each row, [B, A], and its log density, [B]."""
        context = self._policy.encoder(observations)
        noise_BK = self._ranks.normal(len(context.pooled_BD), self._head.noise_size, generator, self._num_parts)
        actions_BTA, log_prob_BT = self._head.draw(context, noise_BK)
        return actions_BTA[:, 0], log_prob_BT[:, 0]

    def optimisers(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return the state of each optimiser."""
        return {name: trained.tensors() for name, trained in self._all().items()}

    def load_optimisers(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load what `optimisers` returned."""
        for name, trained in self._all().items():
            trained.load(tensors[name])

    def _all(self) -> dict[str, Trained]:
        return {"actor": self._actor, "critic": self._critic, "temperature": self._temperature}

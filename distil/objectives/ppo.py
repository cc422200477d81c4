"""Proximal policy optimisation (Schulman et al., 2017, arXiv:1707.06347), for any head with a density.

Values, old log-probabilities and advantages are those of the update's start: computed once in `prepare`, on whole episodes, and
kept in the checkpoint, since a resumed update can't compute them again.

Legend: B batch, R rows of the round's episodes, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from distil.heads.base import DensityHead
from distil.nn.critics import Critics
from distil.objectives.gae import advantages
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.rl_config import PpoConfig
from distil.objectives.steps import OnPolicyStep
from distil.objectives.trained import Trained
from distil.objectives.transitions import Transitions
from distil.policies.policy import Policy
from distil.rewards.base import Rewards
from distil.types import Array

_BLOCK = 4096  # rows of a forward pass without gradients


class _Networks(nn.Module):
    """The value function, and the scale of the returns that it has learned."""

    mean: Tensor
    std: Tensor

    def __init__(self, value: Critics) -> None:
        super().__init__()
        self.value = value
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))


class Ppo(OnPolicyStep):
    """Clipped surrogate loss, a value function on standardised returns, a bonus for entropy by samples.

    Args:
        config: the settings.
        policy: whose head has a density; trained in place.
        optimiser: weight decay and clipping.
        ranks: the group.
        generator: of the value function's start weights.
    """

    def __init__(
        self, config: PpoConfig, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, generator: torch.Generator
    ) -> None:
        assert isinstance(policy.head, DensityHead)
        self._config, self._policy, self._head, self._ranks = config, policy, policy.head, ranks
        self.discount = config.discount
        value = Critics(policy.encoder.features.size, config.hidden, 1, generator, kind="tanh")
        self.networks: _Networks = _Networks(value).to(ranks.device)
        weights = {f"policy.{name}": weight for name, weight in policy.named_parameters() if weight.requires_grad}
        weights |= {f"value.{name}": weight for name, weight in value.named_parameters()}
        self._trained = Trained(weights, optimiser, ranks)

    @torch.no_grad()
    def prepare(self, rows: Transitions, ends_R: Tensor, reward: Callable[[Transitions], Rewards]) -> Mapping[str, Array]:
        """Return old log-probabilities, advantages, standardised returns and rewards; rescale the value function.

        Args:
            rows: of complete episodes, in their order.
            ends_R: which are an episode's last.
            reward: the reward model as it is now.
        """
        rewards = reward(rows)
        log_probs_R = self._in_blocks(rows.observations, lambda seen, at: self._log_prob(seen, rows.actions_BA[at]))
        values_R = self._in_blocks(rows.observations, lambda seen, at: self._value(seen))
        next_R = self._in_blocks(rows.next_observations, lambda seen, at: self._value(seen))
        next_R = torch.where(rows.terminated_B, self.after_end(rewards), next_R)
        rewards_R, before_R, after_R = (x.double().cpu().numpy() for x in (rewards.rewards_B, values_R, next_R))
        discount, trace = self.discount, self._config.trace
        found_R = advantages(rewards_R, before_R, after_R, ends_R.cpu().numpy(), discount=discount, trace=trace)
        returns_R = found_R + before_R
        self._rescale(float(returns_R.mean()), float(returns_R.std()))
        scaled_R = (returns_R - float(self.networks.mean)) / float(self.networks.std)
        found_R = (found_R - found_R.mean()) / (found_R.std() + 1e-8)
        named = {"log_prob": log_probs_R.cpu().numpy(), "advantage": found_R, "return": scaled_R, "reward": rewards_R}
        return {name: value.astype(np.float32) for name, value in named.items()}

    def learn(
        self, transitions: Transitions, rewards: Rewards | None, learning_rate: float, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Step the policy and the value function once on a minibatch of prepared rows, which hold the rewards.

        The two share no weights, so that one pass backwards through the sum of their losses gives the gradients of each.
        """
        config, extras = self._config, transitions.extras
        context = self._policy.encoder(transitions.observations)
        log_prob_B = self._head.log_prob(context, transitions.actions_BA[:, None])[:, 0]
        ratio_B = (log_prob_B - extras["log_prob"]).exp()
        gain_B = extras["advantage"]
        clipped_B = ratio_B.clamp(1 - config.clip, 1 + config.clip)
        actor_loss = -torch.minimum(ratio_B * gain_B, clipped_B * gain_B).mean()
        entropy = -log_prob_B.detach().mean()  # nearly: the actions are of the policy of the update's start
        if config.entropy:
            noise_BK = self._ranks.normal(len(context.pooled_BD), self._head.noise_size, generator)
            bonus = self._head.entropy(context, noise_BK).mean()
            actor_loss, entropy = actor_loss - config.entropy * bonus, bonus.detach()
        value_B = self.networks.value(self._features(transitions.observations))[0]
        critic_loss = mse_loss(value_B, extras["return"])
        self._trained.minimise(actor_loss + critic_loss, learning_rate)
        return {
            "actor_loss": actor_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "entropy": entropy,
            "clipped": (ratio_B != clipped_B).float().mean(),
        }

    def _log_prob(self, observations: Mapping[str, Tensor], actions_BA: Tensor) -> Tensor:
        return self._head.log_prob(self._policy.encoder(observations), actions_BA[:, None])[:, 0]

    def _value(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Return V, in the units of rewards."""
        out: Tensor = self.networks.value(self._features(observations))[0]
        return out * self.networks.std + self.networks.mean

    def _rescale(self, mean: float, std: float) -> None:
        """Standardise returns anew without changing V: its last layer is adapted (PopArt: van Hasselt et al., 2016)."""
        old_mean, old_std = float(self.networks.mean), float(self.networks.std)
        std = max(std, 1e-4)
        weight, bias = self.networks.value.weights[-1], self.networks.value.biases[-1]
        weight.mul_(old_std / std)
        bias.mul_(old_std / std).add_((old_mean - mean) / std)
        self.networks.mean.fill_(mean)
        self.networks.std.fill_(std)

    def _features(self, observations: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = self._policy.encoder.features(observations)
        return out.flatten(1)

    def _in_blocks(
        self, observations: Mapping[str, Tensor], compute: Callable[[Mapping[str, Tensor], slice], Tensor]
    ) -> Tensor:
        num = len(next(iter(observations.values())))
        blocks = [slice(start, start + _BLOCK) for start in range(0, num, _BLOCK)]
        return torch.cat([compute({name: value[at] for name, value in observations.items()}, at) for at in blocks])

    def optimisers(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return the state of the optimiser."""
        return {"both": self._trained.tensors()}

    def load_optimisers(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load what `optimisers` returned."""
        self._trained.load(tensors["both"])

"""The coherent reward: how much surer a clone of the expert is of an action than one that knows nothing.

CSIL (Watson, Huang and Heess, 2023, arXiv:2305.16498, section 4): with r(s, a) = log q(a|s) - log p(a|s), where q is the clone
and p a prior, the clone itself is the best policy of maximum-entropy reinforcement learning. So the policy can start from it,
and nothing is unlearned. Far from the demonstrations, the clone has to be as unsure as the prior, so that no action pays there.
The paper uses a stationary network. Here, the clone's deviation is trained to be the prior's at observations that are disturbed
by noise; its mean isn't.

A refinement is learned beside it from what the learner does (the paper's section 4, its equation 10): with few demonstrations,
what the clone doesn't know is where the learner goes.

Legend: B batch, A action dimension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from distil.heads.gaussian import GaussianHead
from distil.policies.policy import Policy
from distil.rewards.base import ClonedReward, LearnedReward, Rewards, Steps
from distil.rewards.maxent import MaxEntReward

_REACH = 2.0  # tanh(2) = 0.96: actions beyond it are alike
_ERROR = 0.1  # an error of this size costs half a nat


class CoherentReward(ClonedReward, LearnedReward):
    """The mean over action dimensions of log q - log p, q the clone, p a prior of the same mean and deviation `prior`.

    That is log(prior / std) - (u - mean)^2 (1 / std^2 - 1 / prior^2) / 2 with u = arctanh(a): positive for the clone's action
    where demonstrations are, negative for others there, 0 for all actions where the clone knows nothing.

    Args:
        clone: a policy with a Gaussian head; owned, and trained by `clone_loss` only.
        prior: deviation of the prior, before the squashing.
        lowest: smaller rewards count as this one.
        noise: how far demonstrations are disturbed at most, in standard deviations of each element.
        refinement: learned by maximum likelihood, and added.
    """

    def __init__(self, clone: Policy, refinement: MaxEntReward, *, prior: float, lowest: float, noise: float) -> None:
        super().__init__()
        assert isinstance(clone.head, GaussianHead)
        self.refinement = refinement
        self.clone, self._head = clone, [clone.head]  # in a list: not a second time among the modules
        self._log_prior, self._lowest, self._noise = math.log(prior), lowest, noise

    def start_from(self, policy: Policy) -> None:
        """Give the clone the weights and statistics of a policy."""
        self.clone.load_state_dict(policy.state_dict())

    def hand_over(self, policy: Policy) -> None:
        """Give a policy the clone's weights."""
        policy.load_state_dict(self.clone.state_dict())

    @torch.no_grad()
    def forward(self, steps: Steps) -> Rewards:
        """Return the rewards; the absorbing state's is that of the refinement."""
        more = self.refinement(steps)
        mean_BA, log_std_BA = self._moments(steps.observations)
        precision_BA = (-2 * log_std_BA).exp() - math.exp(-2 * self._log_prior)
        errors_BA = _squares(steps.actions_BA, mean_BA)
        rewards_B = (self._log_prior - log_std_BA - 0.5 * errors_BA * precision_BA).mean(-1).clamp(min=self._lowest)
        return Rewards(rewards_B=rewards_B + more.rewards_B, absorbing_B=more.absorbing_B)

    def loss(self, expert: Steps, agent: Steps, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss of the refinement."""
        return self.refinement.loss(expert, agent, generator)

    def clone_loss(self, expert: Steps, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clone's loss, and its parts to report.

        The mean learns by its squared error, the deviation by -log q for the mean as it is: by -log q alone, the mean hardly
        learns where the deviation is large (Seitzer et al., 2022, arXiv:2203.09168, whose beta is 1 here). Where demonstrations
        are disturbed, the deviation becomes the prior's.
        """
        mean_BA, log_std_BA = self._moments(expert.observations)
        errors_BA = _squares(expert.actions_BA, mean_BA)
        certainty_BA = -log_std_BA - 0.5 * errors_BA.detach() * (-2 * log_std_BA).exp()
        clone_loss = (0.5 * errors_BA / _ERROR**2 - certainty_BA).mean()
        _, log_std_BA = self._moments(self._disturbed(expert.observations, generator))
        doubt_loss = (log_std_BA - self._log_prior).square().mean()
        return clone_loss + doubt_loss, {"clone_loss": clone_loss.detach(), "doubt_loss": doubt_loss.detach()}

    def _disturbed(self, observations: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Return observations whose real-valued leaves have noise, of another strength in each row."""
        features, out = self.clone.encoder.features, dict(observations)
        for part in features.parts:
            values = observations[part.leaf.name]
            if part.factor is None and values.is_floating_point():
                num, rest = len(values), [1] * (values.ndim - 1)
                strength = torch.rand(num, *rest, generator=generator, device=values.device) * self._noise
                noise = torch.randn(values.shape, generator=generator, device=values.device)
                out[part.leaf.name] = values + strength * noise * features.deviation(part.leaf.name)
        return out

    def _moments(self, observations: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        mean_BTA, log_std_BTA = self._head[0].moments(self.clone.encoder(observations))
        return mean_BTA[:, 0], log_std_BTA[:, 0]


def _squares(actions_BA: Tensor, mean_BA: Tensor) -> Tensor:
    """Return the squared errors of actions before the squashing; where both are beyond the reach, they agree."""
    limit = math.tanh(_REACH)
    is_beyond_BA = actions_BA.abs() >= limit
    near_BA = torch.where(is_beyond_BA, mean_BA.clamp(-_REACH, _REACH), mean_BA)
    return (actions_BA.clamp(-limit, limit).atanh() - near_BA).square()

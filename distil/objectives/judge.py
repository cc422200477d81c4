"""What judges the learner's steps: a reward model, the view of transitions that it has, and what trains it.

Legend: B batch, R rows of complete episodes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from distil.heads.base import DensityHead
from distil.objectives.base import DEMOS
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.prepared import PreparedSource
from distil.objectives.ranks import Ranks
from distil.objectives.tensors import to_torch
from distil.objectives.trained import Trained
from distil.objectives.transitions import AGENT, Transitions, of_batch
from distil.policies.policy import Policy
from distil.rewards.base import ClonedReward, EpisodeReward, LearnedReward, RewardModel, Rewards, Steps
from distil.rewards.config import SavedConfig
from distil.rewards.frozen import FrozenReward, freeze
from distil.rewards.given import GivenReward
from distil.rewards.view import view
from distil.store.order import SampleSource
from distil.store.windows import TransitionBatch


class Judge:
    """A reward model in use.

    Args:
        policy: whose features the model reads; on its device already.
        model: owned; moved to the policy's device.
        optimiser: weight decay and clipping.
        ranks: the group.
        rate: learning rate of what is learned beside the policy, times that of the policy.
        clone_rate: that of a clone.
        config: of the model; None: it is not one to keep.
    """

    def __init__(
        self,
        policy: Policy,
        model: RewardModel,
        optimiser: OptimiserConfig,
        ranks: Ranks,
        *,
        rate: float,
        clone_rate: float = 0.0,
        config: Any = None,
    ) -> None:
        self.model: RewardModel = model.to(ranks.device)
        self._config = config
        self._policy, self._rate, self._clone_rate, self._ranks = policy, rate, clone_rate, ranks
        weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        of_clone = {name: value for name, value in weights.items() if name.startswith("clone.")}
        self.trained = dict[str, Trained]()
        if isinstance(model, ClonedReward):
            self.trained["clone"] = Trained(of_clone, optimiser, ranks)
        if isinstance(model, LearnedReward):
            learned = {name: value for name, value in weights.items() if name not in of_clone}
            self.trained["reward"] = Trained(learned, optimiser, ranks)

    @torch.no_grad()
    def rewards(self, transitions: Transitions) -> Rewards:
        """Return the rewards by the model as it is now."""
        found: Rewards = self.model(self._steps(transitions))
        return found

    def prepare(self, sources: Mapping[str, SampleSource]) -> Mapping[str, SampleSource]:
        """Return the sources, with the rewards of whole episodes if the model gives these."""
        if not isinstance(self.model, EpisodeReward):
            return sources
        rows = {name: whole(sources[name]) for name in (AGENT, DEMOS)}
        found = list[Any]()
        for name, batch_of_all in rows.items():
            batch = to_torch(batch_of_all, self._ranks.device)
            steps = self._steps(of_batch(self._policy, batch, is_expert=name == DEMOS))
            found += [steps, (batch.terminated | batch.truncated).cpu().numpy()]
        rewards = dict(zip(rows, self.model.of_episodes(*found), strict=True))
        return {name: PreparedSource(rows[name], {"reward": rewards[name]}, sources[name].spec) for name in sources}

    def improve(
        self, expert: Transitions, agent: Transitions, learning_rate: float, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Take a step of a model that learns beside the policy, and return figures to report."""
        if not isinstance(self.model, LearnedReward):
            return {}
        shown, own = (self._of_all_ranks(self._steps(batch)) for batch in (expert, agent))
        loss, figures = self.model.loss(shown, own, generator)
        self.trained["reward"].minimise(loss, self._rate * learning_rate)
        return {"reward_loss": loss.detach(), **figures}

    def clone(self, expert: Transitions, learning_rate: float, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Take a step of the clone that the model consists of, and return figures to report."""
        assert isinstance(self.model, ClonedReward)
        loss, figures = self.model.clone_loss(self._of_all_ranks(self._steps(expert)), generator)
        self.trained["clone"].minimise(loss, self._clone_rate * learning_rate)
        return {"pretraining_loss": loss.detach(), **figures}

    def frozen(self) -> FrozenReward | None:
        """Return a copy of the model as it is, for use elsewhere; None: it is not one to keep."""
        if isinstance(self.model, GivenReward):
            return copy.deepcopy(self.model.frozen)
        if not isinstance(self._config, SavedConfig):
            return None
        return freeze(self._config, self.model, self._policy, self.model.discount)  # type: ignore[arg-type]

    def _steps(self, transitions: Transitions) -> Steps:
        """Return transitions as the model sees them: standardised features and one-hot choices, if it reads them."""
        given = (transitions.observations, transitions.actions_BA, transitions.next_observations)
        policy = self._policy
        seen_BF, actions_BA, ahead_BF = view(self.model, policy.encoder.features, policy.action.leaf, *given)
        return Steps(
            features_BF=seen_BF,
            actions_BA=actions_BA,
            next_features_BF=ahead_BF,
            terminated_B=transitions.terminated_B,
            is_expert_B=transitions.is_expert_B,
            rewards_B=transitions.extras.get("reward", transitions.rewards_B),
            observations=transitions.observations,
            next_observations=transitions.next_observations if self.model.reads_next else {},
            log_probs_B=self._log_probs(transitions) if self.model.needs_log_probs else None,
        )

    @torch.no_grad()
    def _log_probs(self, transitions: Transitions) -> Tensor:
        """Return the policy's log density of each action, [B] (CORRECTNESS 18)."""
        head = self._policy.head
        assert isinstance(head, DensityHead)
        return head.log_prob(self._policy.encoder(transitions.observations), transitions.actions_BA[:, None])[:, 0]

    def _of_all_ranks(self, steps: Steps) -> Steps:
        """Return the steps of the global batch: a reward model is small, and its loss need not be a mean over rows."""
        if self._ranks.world_size == 1:
            return steps
        found = dict[str, Any]()
        for name, value in vars(steps).items():
            if isinstance(value, Mapping):
                found[name] = {leaf: self._ranks.gathered(rows) for leaf, rows in value.items()}
            else:
                found[name] = value if value is None else self._ranks.gathered(value)
        return Steps(**found)


def whole(source: SampleSource) -> TransitionBatch:
    """Return all samples of a source as one batch, in its order."""
    return cast("TransitionBatch", next(source.scan(source.num_samples)))

"""Learning by interaction: a reward model judges the learner's steps, a step of reinforcement learning improves the policy.

Rewards are computed inside each step from the reward model as it is then, and never stored: a replayed step counts as the model
sees it today (CORRECTNESS 20).

Legend: B batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from distil.heads.base import DensityHead
from distil.objectives.base import DEMOS, ObjectiveState
from distil.objectives.optimiser_config import OptimiserConfig, learning_rate
from distil.objectives.prepared import PreparedSource
from distil.objectives.ranks import Ranks
from distil.objectives.statistics import fit_policy, refit_policy
from distil.objectives.steps import RLStep
from distil.objectives.tensors import to_torch
from distil.objectives.trained import Trained
from distil.objectives.transitions import Transitions, joined, of_batch
from distil.policies.policy import Policy
from distil.rewards.base import RewardModel, Rewards, Steps
from distil.store.order import SampleSource
from distil.store.windows import TransitionBatch, WindowOptions
from distil.types import Batch

if TYPE_CHECKING:
    from distil.rewards.config import CoherentConfig, LearnedConfig

AGENT = "agent"  # name of the stream of the learner's own steps
_PARTS = ("policy", "rl", "reward", "adamw", "prepared")  # of a state; a checkpoint also has others' tensors


class Interaction:
    """See `distil.objectives.base.Objective` for the protocol."""

    def __init__(
        self,
        policy: Policy,
        step: RLStep,
        reward: RewardModel,
        optimiser: OptimiserConfig,
        ranks: Ranks,
        learned: LearnedConfig | CoherentConfig | None,
        *,
        offline: bool = False,
    ) -> None:
        """Own `policy`, which is on its device already; `learned` has the reward model's own settings, if it is trained."""
        self.policy, self.learning_rate = policy, 0.0
        self._rl, self._reward, self._config = step, reward.to(ranks.device), optimiser
        self._ranks, self._generator = ranks, torch.Generator(ranks.device)
        self._step = self._num_steps = self._num_fitted = 0
        self._prepared: dict[str, Tensor] = {}  # on-policy: what this update computed at its start
        self._is_pretraining, self._is_offline = reward.pretrains, offline
        self._rate = learned.rate if learned is not None else 0.0
        weights = {name: value for name, value in reward.named_parameters() if value.requires_grad}
        self._judge = Trained(weights, optimiser, ranks) if learned is not None else None

    @property
    def needs(self) -> Mapping[str, WindowOptions]:
        """The learner's own steps and, unless the environment's reward is used, demonstrations; those alone in pretraining."""
        own: WindowOptions = {"n_step": 1, "every": True, "rewards": self._reward.reads_rewards}
        shown: WindowOptions = {"n_step": 1, "every": True, "rewards": False}
        if self._is_pretraining or self._is_offline:
            return {DEMOS: shown}
        return {AGENT: own} if self._reward.reads_rewards else {AGENT: own, DEMOS: shown}

    def fit_statistics(self, sources: Mapping[str, SampleSource]) -> Sequence[str]:
        """Fit the policy's statistics once, on the demonstrations; without any, on the learner's steps.

        The latter are looked at again when they have doubled; on-policy, where each update has new ones only, at each update.
        """
        source, notes = sources[DEMOS] if DEMOS in sources else sources[AGENT], self._reward.notes()
        is_due = self._rl.is_on_policy or source.num_samples >= 2 * self._num_fitted
        if self._num_fitted and (DEMOS in sources or not is_due):
            return notes
        is_first, self._num_fitted = not self._num_fitted, source.num_samples
        fitted = fit_policy(self.policy, source) if is_first else refit_policy(self.policy, source)
        if self._is_pretraining:
            self._reward.start_from(self.policy)
        return [*notes, *fitted]

    def prepare(self, sources: Mapping[str, SampleSource]) -> Mapping[str, SampleSource]:
        """Return the sources as they are; on-policy, the learner's steps with what is computed once an update.

        A resumed update has that in its state: weights have changed since its start.
        """
        if self._reward.couples:
            return self._coupled(sources)
        if not self._rl.is_on_policy:
            return sources
        rows = _whole(sources[AGENT])
        if not self._prepared:
            batch = to_torch(rows, self._ranks.device)
            steps = of_batch(self.policy, batch, is_expert=False)
            found = self._rl.prepare(steps, batch.terminated | batch.truncated, self._rewards)
            self._prepared = {name: torch.from_numpy(value) for name, value in found.items()}
        extras = {name: value.numpy() for name, value in self._prepared.items()}
        return {**sources, AGENT: PreparedSource(rows, extras, sources[AGENT].spec)}

    def _coupled(self, sources: Mapping[str, SampleSource]) -> Mapping[str, SampleSource]:
        """Return the sources with the rewards of whole episodes, which nothing that is learned changes."""
        rows = {name: _whole(source) for name, source in sources.items()}
        found = list[Any]()
        for name in (AGENT, DEMOS):
            batch = to_torch(rows[name], self._ranks.device)
            found += [self._steps(self._transitions(batch, name)), (batch.terminated | batch.truncated).cpu().numpy()]
        rewards = dict(zip((AGENT, DEMOS), self._reward.couple(*found), strict=True))
        return {name: PreparedSource(rows[name], {"reward": rewards[name]}, sources[name].spec) for name in sources}

    def begin(self, num_steps: int) -> None:
        """Start an update of `num_steps` gradient steps."""
        self._step, self._num_steps, self._prepared = 0, num_steps, {}

    def reseed(self, seed: int) -> None:
        """Restart the randomness of the losses at the first rank's `seed`: all draw alike, each takes its rows."""
        self._generator.manual_seed(self._ranks.of_first(seed))

    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Step the reward model, if it is learned, then critics and policy on rewards of the model as it is now.

        In pretraining, step the reward model alone; in the end, the policy becomes its clone.
        """
        self.learning_rate = learning_rate(self._config, self._step, self._num_steps)
        if self._is_pretraining:
            return self._pretrain(self._transitions(batches[DEMOS], DEMOS))
        of, figures = {name: self._transitions(batch, name) for name, batch in batches.items()}, dict[str, Tensor]()
        own = everything = of[AGENT] if AGENT in of else of[DEMOS]
        if len(of) == 2:
            figures |= self._improve_reward(of[DEMOS], own)
            everything = own if self._rl.is_on_policy else joined(of[DEMOS], own)
        rewards = None if self._rl.is_on_policy else self._rewards(everything)
        figures |= self._rl.learn(everything, rewards, self.learning_rate, self._generator)
        self._step += 1
        rewards_B = own.extras["reward"] if rewards is None else rewards.rewards_B[-len(own) :]
        return {**figures, "reward": rewards_B.mean()}

    def _transitions(self, batch: Batch, stream: str) -> Transitions:
        return of_batch(self.policy, cast("TransitionBatch", batch), is_expert=stream == DEMOS)

    def _pretrain(self, expert: Transitions) -> Mapping[str, Tensor]:
        assert self._judge is not None
        loss, figures = self._reward.pretraining_loss(self._of_all_ranks(self._steps(expert)), self._generator)
        cosine = self._config.model_copy(update={"schedule": "cosine"})
        self._judge.minimise(loss, self._rate * learning_rate(cosine, self._step, self._num_steps))
        self._step += 1
        if self._step == self._num_steps:
            self._reward.hand_over(self.policy)
            self._is_pretraining = False
        return {"pretraining_loss": loss.detach(), **figures}

    def _improve_reward(self, expert: Transitions, agent: Transitions) -> Mapping[str, Tensor]:
        if self._judge is None or not self._reward.is_learned:
            return {}
        shown, own = (self._of_all_ranks(self._steps(batch)) for batch in (expert, agent))
        loss, figures = self._reward.loss(shown, own, self._generator)
        self._judge.minimise(loss, self.learning_rate * self._rate)
        return {"reward_loss": loss.detach(), **figures}

    @torch.no_grad()
    def _rewards(self, transitions: Transitions) -> Rewards:
        rewards: Rewards = self._reward(self._steps(transitions))
        return rewards

    def _steps(self, transitions: Transitions) -> Steps:
        """Return transitions as a reward model sees them: standardised features and one-hot choices, if it reads them."""
        features, actions_BA = self.policy.encoder.features, transitions.actions_BA
        seen_BF = ahead_BF = torch.empty(len(transitions), 0, device=actions_BA.device)
        if self._reward.reads_features:
            seen_BF, ahead_BF = (features(x).flatten(1) for x in (transitions.observations, transitions.next_observations))
            if not actions_BA.is_floating_point():
                sizes = self.policy.action.leaf.nvec
                actions_BA = torch.cat([one_hot(actions_BA[:, i], n) for i, n in enumerate(sizes)], -1).float()
        return Steps(
            features_BF=seen_BF,
            actions_BA=actions_BA,
            next_features_BF=ahead_BF,
            terminated_B=transitions.terminated_B,
            is_expert_B=transitions.is_expert_B,
            rewards_B=transitions.extras.get("reward", transitions.rewards_B),
            observations=transitions.observations,
            log_probs_B=self._log_probs(transitions) if self._reward.needs_log_probs else None,
        )

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

    @torch.no_grad()
    def _log_probs(self, transitions: Transitions) -> Tensor:
        """Return the policy's log density of each action, [B] (CORRECTNESS 18)."""
        head = self.policy.head
        assert isinstance(head, DensityHead)
        return head.log_prob(self.policy.encoder(transitions.observations), transitions.actions_BA[:, None])[:, 0]

    def validate(self, policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
        """Not used: nothing is held out when a policy learns by interaction."""
        raise NotImplementedError

    def figures(self) -> Mapping[str, float]:
        """Return the last step's learning rate."""
        return {"learning_rate": self.learning_rate}

    def evaluation_policy(self) -> Policy:
        """Return a copy of the policy, in evaluation mode."""
        import copy

        return copy.deepcopy(self.policy).eval()

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the weights of an earlier `evaluation_policy`."""
        self.policy.load_state_dict(dict(tensors))

    def state_dict(self) -> ObjectiveState:
        """Return weights, statistics, targets, the temperature, the reward model, all moments and counters."""
        counters = {"step": self._step, "num_steps": self._num_steps, "num_fitted": self._num_fitted}
        counters["is_pretraining"] = self._is_pretraining
        return ObjectiveState(tensors=self._tensors(), counters=counters)

    def _tensors(self) -> dict[str, Tensor]:
        parts: dict[str, Mapping[str, Tensor]] = {
            "policy": self.policy.state_dict(),
            "rl": self._rl.networks.state_dict(),
            "reward": self._reward.state_dict(),
            **{f"adamw.{name}": tensors for name, tensors in self._rl.optimisers().items()},
        }
        if self._judge is not None:
            parts["adamw.reward"] = self._judge.tensors()
        if self._step < self._num_steps:
            parts["prepared"] = self._prepared
        return {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}

    def load_state_dict(self, state: ObjectiveState) -> None:
        """Take over `state`; ValueError names the first tensor that is missing or has another shape."""
        own = self._tensors()
        tensors = {name: value for name, value in state.tensors.items() if name.split(".")[0] in _PARTS}
        kept = {name for name in tensors if name.startswith("prepared.")}
        for name in sorted({*own, *tensors} - kept):
            held, here = (tuple(found[name].shape) if name in found else "absent" for found in (tensors, own))
            if held != here:
                raise ValueError(f"{name} is {held} there and {here} in this configuration")

        def of(part: str) -> dict[str, Tensor]:
            return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}

        self.policy.load_state_dict(of("policy"))
        self._rl.networks.load_state_dict(of("rl"))
        self._reward.load_state_dict(of("reward"))
        self._rl.load_optimisers({name: of(f"adamw.{name}") for name in self._rl.optimisers()})
        if self._judge is not None:
            self._judge.load(of("adamw.reward"))
        self._prepared = of("prepared")
        self._step, self._num_steps = int(state.counters["step"]), int(state.counters["num_steps"])
        self._num_fitted, self._is_pretraining = int(state.counters["num_fitted"]), bool(state.counters["is_pretraining"])


def _whole(source: SampleSource) -> TransitionBatch:
    """Return all samples of a source as one batch, in its order."""
    return cast("TransitionBatch", next(source.scan(source.num_samples)))

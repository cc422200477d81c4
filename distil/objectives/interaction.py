"""Learning by interaction: a reward model judges the learner's steps, a step of reinforcement learning improves the policy.

Rewards are computed inside each step from the reward model as it is then, and never stored: a replayed step counts as the model
sees it today (CORRECTNESS 20).

Legend: B batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from distil.objectives.base import DEMOS, ObjectiveState
from distil.objectives.ema import Average
from distil.objectives.judge import Judge, whole
from distil.objectives.optimiser_config import OptimiserConfig, learning_rate
from distil.objectives.prepared import PreparedSource
from distil.objectives.ranks import Ranks
from distil.objectives.statistics import fit_policy, refit_policy
from distil.objectives.steps import OnPolicyStep, RLStep
from distil.objectives.tensors import to_torch
from distil.objectives.transitions import AGENT, Transitions, joined, of_batch
from distil.policies.policy import Policy
from distil.rewards.base import ClonedReward
from distil.rewards.frozen import FrozenReward, freeze
from distil.store.order import SampleSource
from distil.store.windows import TransitionBatch, WindowOptions
from distil.types import Batch

_PARTS = ("policy", "ema", "rl", "reward", "adamw", "prepared")  # of a state; a checkpoint also has others' tensors


class Interaction:
    """See `distil.objectives.base.Objective` for the protocol."""

    def __init__(
        self, policy: Policy, step: RLStep, judge: Judge, optimiser: OptimiserConfig, ranks: Ranks, *, offline: bool = False
    ) -> None:
        """Own `policy`, which is on its device already; `offline`: learn from demonstrations alone."""
        self.policy, self.learning_rate = policy, 0.0
        self._rl, self._judge, self._config = step, judge, optimiser
        self._ranks, self._generator = ranks, torch.Generator(ranks.device)
        self._step = self._num_steps = self._num_fitted = 0
        self._prepared: dict[str, Tensor] = {}  # on-policy: what this update computed at its start
        self._is_cloning, self._is_offline = isinstance(judge.model, ClonedReward), offline
        self._average = self._new_average()

    @property
    def needs(self) -> Mapping[str, WindowOptions]:
        """The learner's own steps and, unless the reward is given, demonstrations; those alone in pretraining."""
        own: WindowOptions = {"n_step": 1, "every": True, "rewards": self._judge.model.reads_rewards}
        shown: WindowOptions = {"n_step": 1, "every": True, "rewards": False}
        if self._is_cloning or self._is_offline:
            return {DEMOS: shown}
        return {AGENT: own, DEMOS: shown} if self._judge.model.needs_demos else {AGENT: own}

    def fit_statistics(self, sources: Mapping[str, SampleSource]) -> Sequence[str]:
        """Fit the policy's statistics once, on the demonstrations; without any, on the learner's steps.

        The latter are looked at again when they have doubled; on-policy, where each update has new ones only, at each update.
        """
        source, notes = sources[DEMOS] if DEMOS in sources else sources[AGENT], self._judge.model.notes()
        is_due = isinstance(self._rl, OnPolicyStep) or source.num_samples >= 2 * self._num_fitted
        if self._num_fitted and (DEMOS in sources or not is_due):
            return notes
        is_first, self._num_fitted = not self._num_fitted, source.num_samples
        fitted = fit_policy(self.policy, source) if is_first else refit_policy(self.policy, source)
        self._average = self._new_average()  # refitting rescales weights
        if self._is_cloning:
            cast("ClonedReward", self._judge.model).start_from(self.policy)
        return [*notes, *fitted]

    def prepare(self, sources: Mapping[str, SampleSource]) -> Mapping[str, SampleSource]:
        """Return the sources, on-policy with what is computed once an update, or with the rewards of whole episodes.

        A resumed update has what depends on weights in its state: they have changed since its start.
        """
        if not isinstance(self._rl, OnPolicyStep):
            return self._judge.prepare(sources)
        rows = whole(sources[AGENT])
        if not self._prepared:
            batch = to_torch(rows, self._ranks.device)
            steps = of_batch(self.policy, batch, is_expert=False)
            found = self._rl.prepare(steps, batch.terminated | batch.truncated, self._judge.rewards)
            self._prepared = {name: torch.from_numpy(value) for name, value in found.items()}
        extras = {name: value.numpy() for name, value in self._prepared.items()}
        return {**sources, AGENT: PreparedSource(rows, extras, sources[AGENT].spec)}

    def begin(self, num_steps: int) -> None:
        """Start an update of `num_steps` gradient steps."""
        self._step, self._num_steps, self._prepared = 0, num_steps, {}

    def reseed(self, seed: int) -> None:
        """Restart the randomness of the losses at the first rank's `seed`: all draw alike, each takes its rows."""
        self._generator.manual_seed(self._ranks.of_first(seed))

    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Step the reward model, if it is learned, then critics and policy on rewards of the model as it is now.

        Before a clone has taken all its steps, step it alone; in the end, the policy becomes it.
        """
        self.learning_rate = learning_rate(self._config, self._step, self._num_steps)
        of = {
            name: of_batch(self.policy, cast("TransitionBatch", batch), is_expert=name == DEMOS)
            for name, batch in batches.items()
        }
        if self._is_cloning:
            return self._clone(of[DEMOS])
        figures, is_on_policy = dict[str, Tensor](), isinstance(self._rl, OnPolicyStep)
        own = everything = of[AGENT] if AGENT in of else of[DEMOS]
        if len(of) == 2:
            figures |= self._judge.improve(of[DEMOS], own, self.learning_rate, self._generator)
            everything = own if is_on_policy else joined(of[DEMOS], own)
        rewards = None if is_on_policy else self._judge.rewards(everything)
        figures |= self._rl.learn(everything, rewards, self.learning_rate, self._generator)
        if self._average is not None:
            self._average.update(dict(self.policy.named_parameters()))
        self._step += 1
        rewards_B = own.extras["reward"] if rewards is None else rewards.rewards_B[-len(own) :]
        return {**figures, "reward": rewards_B.mean()}

    def _clone(self, expert: Transitions) -> Mapping[str, Tensor]:
        cosine = self._config.model_copy(update={"schedule": "cosine"})
        figures = self._judge.clone(expert, learning_rate(cosine, self._step, self._num_steps), self._generator)
        self._step += 1
        if self._step == self._num_steps:
            cast("ClonedReward", self._judge.model).hand_over(self.policy)
            self._is_cloning, self._average = False, self._new_average()
        return figures

    def validate(self, policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
        """Not used: nothing is held out when a policy learns by interaction."""
        raise NotImplementedError

    def figures(self) -> Mapping[str, float]:
        """Return the last step's learning rate."""
        return {"learning_rate": self.learning_rate}

    def evaluation_policy(self) -> Policy:
        """Return a copy of the policy, in evaluation mode, with averaged weights if these are asked for."""
        import copy

        out = copy.deepcopy(self.policy).eval()
        if self._average is not None:
            out.load_state_dict({**out.state_dict(), **self._average.tensors})
        return out

    def evaluation_reward(self) -> FrozenReward | None:
        """Return a copy of the reward that is learned, or that the Q-function implies; None: there is none to keep."""
        implied = self._rl.implied()
        return self._judge.frozen() if implied is None else freeze(*implied, self.policy, self._rl.discount)

    def _new_average(self) -> Average | None:
        decay = self._config.ema_decay
        return Average(dict(self.policy.named_parameters()), decay) if decay is not None else None

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the weights of an earlier `evaluation_policy`."""
        self.policy.load_state_dict(dict(tensors))
        self._average = self._new_average()

    def state_dict(self) -> ObjectiveState:
        """Return weights, statistics, targets, the temperature, the reward model, all moments and counters."""
        counters = {"step": self._step, "num_steps": self._num_steps, "num_fitted": self._num_fitted}
        counters["is_pretraining"] = self._is_cloning
        if self._average is not None:
            counters["ema_updates"] = self._average.num_updates
        return ObjectiveState(tensors=self._tensors(), counters=counters)

    def _tensors(self) -> dict[str, Tensor]:
        parts: dict[str, Mapping[str, Tensor]] = {
            "policy": self.policy.state_dict(),
            "rl": self._rl.networks.state_dict(),
            "reward": self._judge.model.state_dict(),
            **{f"adamw.{name}": tensors for name, tensors in self._rl.optimisers().items()},
        }
        parts |= {f"adamw.{name}": trained.tensors() for name, trained in self._judge.trained.items()}
        if self._average is not None:
            parts["ema"] = self._average.tensors
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
        self._judge.model.load_state_dict(of("reward"))
        self._rl.load_optimisers({name: of(f"adamw.{name}") for name in self._rl.optimisers()})
        for name, trained in self._judge.trained.items():
            trained.load(of(f"adamw.{name}"))
        if self._average is not None:
            self._average.load(of("ema"), int(state.counters["ema_updates"]))
        self._prepared = of("prepared")
        self._step, self._num_steps = int(state.counters["step"]), int(state.counters["num_steps"])
        self._num_fitted, self._is_cloning = int(state.counters["num_fitted"]), bool(state.counters["is_pretraining"])

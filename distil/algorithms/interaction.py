"""Imitation by interaction: the learner acts, and a reward model compares what it did with the demonstrations.

What all its algorithms share: the rounds. They differ in the reward and in the step of reinforcement learning.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from distil.algorithms.base import AlgorithmConfig, Budget, Needs
from distil.algorithms.stop import PeekConfig
from distil.errors import InputError
from distil.objectives.config import InteractionConfig
from distil.objectives.rl_config import AnyStepConfig, PpoConfig
from distil.plans import DEMOS, Choice, CollectPlan, EvaluatePlan, Round, RoundReport, Spent, StreamPlan, UpdatePlan
from distil.rewards.given_config import AnyRewardConfig
from distil.store.index import EpisodeIndex

_FIRST_LENGTH = 100  # steps of an episode, before any is known
_GROWTH = 16  # episodes may become so many times longer from one round to the next: CartPole's do


class ByInteractionConfig(AlgorithmConfig):
    """What algorithms of imitation by interaction share."""

    learner_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 3e-4,
        "schedule": "constant",  # a cosine would start anew in each round
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "grad_clip": None,
        "batch_size": 128,  # of each stream, so half of what a step sees is the expert's
    }
    policy_defaults: ClassVar[Mapping[str, Any]] = {"head": {"kind": "auto", "density": True}}

    unused: ClassVar[Mapping[str, str]] = {
        "learner.num_steps": "set algorithm.steps, which counts the learner's steps in the environment, and updates_per_step",
    }

    losses: ClassVar[tuple[str, ...]] = ("td",)  # those of `step.loss` that it can use

    steps: int = Field(default=20_000, ge=1)  # of the learner in the environment, about: rounds have complete episodes
    steps_per_round: int = Field(default=1000, ge=1)
    updates_per_step: float = Field(default=1.0, gt=0)  # gradient steps for each step in the environment
    random_steps: int = Field(default=1000, ge=0)  # random actions at the start; never with ppo, which learns from its own only
    keep_steps: int | None = Field(default=None, ge=1)  # learn from the newest N steps; null: from all
    tuning_episodes: int = Field(default=10, ge=0)  # score the policy on N episodes (`tune/*`), not the held-out ones
    tune_every: int = Field(default=5, ge=1)  # rounds from one such score to the next
    select: Literal["best", "last"] = "best"
    """Which policy the run ends with, of those that were scored: that whose states on the tuning episodes were the nearest
    to the demonstrations' (`tune/wasserstein`, which no reward enters), or the last one. Reinforcement learning goes by the
    return of these episodes; on a reward that was learned earlier by the discounted return of that reward
    (`tune/learned_return_mean`), so that no other one enters. Without tuning episodes and with `stop.normalised`, it is the
    last one."""
    stop: PeekConfig = PeekConfig()

    @property
    @abstractmethod
    def parts(self) -> tuple[AnyStepConfig, AnyRewardConfig]:
        """The step of reinforcement learning and the reward."""

    @model_validator(mode="after")
    def _has_its_loss(self) -> Self:
        loss = getattr(self.parts[0], "loss", "td")
        if loss not in self.losses:
            name, allowed = type(self).model_fields["kind"].default, " or ".join(self.losses)
            raise ValueError(f"step.loss={loss} is not a loss of {name}; set step.loss={allowed}")
        return self

    @model_validator(mode="after")
    def _may_stop_by_its_score(self) -> Self:
        if self.stop.normalised is None:
            return self
        if not self._is_scored and not self.stop.peek:
            raise ValueError(
                "stop.normalised decides by the environment's reward, which learning from another one must not read: set "
                "stop.peek=true if it may here, or drop it and follow tune/wasserstein"
            )
        if not self.tuning_episodes:
            raise ValueError("stop.normalised needs episodes to measure it on: set algorithm.tuning_episodes, such as 10")
        return self

    def check(self, budget: Budget) -> None:
        """Raise ValueError for a limit on a score that the run does not measure."""
        if self.stop.normalised is not None and not budget.baselines:
            raise ValueError(
                f"algorithm.stop.normalised={self.stop.normalised} needs a score of the expert, which "
                "evaluation.baselines=false or expert.paid=true leaves out: drop one of them"
            )

    @property
    def _imitates(self) -> bool:
        """Whether demonstrations, and not a given reward, say what is good."""
        return self.parts[1].kind not in ("environment", "learned")

    @property
    def _is_scored(self) -> bool:
        """Whether it learns from the environment's reward, which scores are made of."""
        return self.parts[1].kind == "environment"

    @property
    def num_pretraining(self) -> int:
        """Gradient steps on the demonstrations alone, before the learner acts."""
        return 0

    @property
    def objective(self) -> InteractionConfig:
        """What the learner steps."""
        step, reward = self.parts
        return InteractionConfig(step=step, reward=reward)

    @property
    def needs(self) -> Needs:
        """Its policy acts, by samples."""
        return Needs(acts=True, act="sample")

    @property
    def num_acting(self) -> int:
        """Steps of the learner in the environment, about."""
        return self.steps

    def check_demonstrations(self, episodes: EpisodeIndex) -> None:
        """Raise InputError if demonstrations end at different times, and the reward ignores ends (CORRECTNESS 17)."""
        if getattr(self.parts[1], "ends", "absorbing") != "ignore":
            return
        lengths = sorted(set(episodes.length.tolist()))
        if episodes.terminated.any() or len(lengths) > 1:
            ended, first, last = int(episodes.terminated.sum()), lengths[0], lengths[-1]
            raise InputError(
                f"algorithm.reward.ends=ignore: {ended} of {len(episodes)} demonstrations ended the task, and they have "
                f"{first} to {last} steps; the reward would pay for an early end or for none, whatever they show: set "
                "algorithm.reward.ends=absorbing (or done)"
            )

    def fraction(self, spent: Spent, budget: Budget) -> float:
        """Return how much of its steps in the environment the learner has taken; of an offline run, of its gradient steps."""
        if self.num_acting:
            return min(1.0, spent.agent_steps / self.num_acting)
        return spent.gradient_steps / max(1, self.num_pretraining)

    def scored(self, num_episodes: int, looks: int, budget: Budget) -> Mapping[str, Any]:
        """Return the settings of scores every few rounds."""
        num_rounds = max(1, self.num_acting / self.steps_per_round)
        return {"algorithm.tuning_episodes": num_episodes, "algorithm.tune_every": max(1, round(num_rounds / looks))}

    def granted(self, labels: int | None, steps: int | None, lengths: Sequence[int]) -> Mapping[str, Any]:
        """Return the learner's share of the steps: what the demonstrations leave."""
        return {} if steps is None else {"algorithm.steps": max(1, steps - sum(lengths))}

    def build(self, budget: Budget) -> Interaction:
        """Return the algorithm under `budget`."""
        return Interaction(config=self, budget=budget)


class OnPolicyConfig(ByInteractionConfig):
    """What algorithms share that learn with PPO, from the newest round only."""

    steps: int = 200_000
    steps_per_round: int = 2048
    random_steps: int = 0
    step: PpoConfig = PpoConfig()


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """Rounds of act, update, and now and then score; at the end one evaluation on the held-out episodes."""

    config: ByInteractionConfig
    budget: Budget

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return the round after `last`, or None when the held-out evaluation is done."""
        index = 0 if last is None else last.index + 1
        config = self.config
        if last is None:
            return self._first()
        if last.is_final:
            return None
        acted = last.spent.agent_steps
        if acted >= config.num_acting or config.stop.is_reached(last):
            return self._evaluation(index)
        num = min(config.steps_per_round, config.num_acting - acted)
        due = self._updates(num, acted, last.spent.gradient_steps - self.config.num_pretraining)
        tuning = self._tuning(index, last.num_looks, is_last=acted + num >= config.num_acting)
        is_random = acted < config.random_steps and config.parts[0].kind != "ppo"
        return Round(
            index=index,
            collect=self._collection(index, num, last.episode_length or _FIRST_LENGTH, is_random=is_random),
            update=UpdatePlan(num_steps=max(1, due), round=index, streams=self._streams()),
            evaluate=tuning,
            compare=config._imitates and (tuning is not None or index % config.tune_every == 0),
            choose=self._choice(tuning),
        )

    def _collection(self, index: int, num: int, length: float, *, is_random: bool) -> CollectPlan:
        """Return the plan of `num` steps of the learner.

        It begins with few episodes, since they may be much longer than the last ones, which had `length` steps on average.
        """
        return CollectPlan(
            num_episodes=max(1, num // (self.budget.max_episode_steps or num), int(num / length / _GROWTH)),
            min_steps=num,
            into="agent",
            keep_steps=self.config.keep_steps,
            round=index,
            agent="random" if is_random else "policy",
            act="sample",
        )

    def _first(self) -> Round:
        """Return the round that collects the demonstrations, fits statistics and, with some algorithms, pretrains on them.

        Without demonstrations, the statistics are those of a round of random actions, which only off-policy steps learn from.
        """
        num, config = self.budget.num_demonstrations, self.config
        if not config._imitates:
            first = min(config.steps_per_round, config.num_acting)
            updates = 0 if config.parts[0].kind == "ppo" else self._updates(first, 0, 0)
            collect = self._collection(0, first, _FIRST_LENGTH, is_random=True)
            return Round(index=0, collect=collect, update=UpdatePlan(num_steps=updates, streams=self._streams()))
        tuning = self._tuning(0, 0) if config.num_pretraining else None
        return Round(
            index=0,
            collect=CollectPlan(num_episodes=num) if num else None,
            update=UpdatePlan(num_steps=config.num_pretraining, streams={DEMOS: StreamPlan()}),
            evaluate=tuning,
            compare=tuning is not None,
            choose=self._choice(tuning),
        )

    def _choice(self, tuning: EvaluatePlan | None) -> Choice | None:
        """Return by what the policy of a round may be the one that the run ends with; None: it may not."""
        if tuning is None or self.config.select == "last" or self.config.stop.normalised is not None:
            return None
        if self.config._imitates:
            return "distance"
        return "return" if self.config._is_scored else "learned"

    def _tuning(self, index: int, num_looks: int, *, is_last: bool = False) -> EvaluatePlan | None:
        """Return the score of every few rounds; the last one has it, too, unless a score on held-out episodes follows."""
        num, confirm = self.config.tuning_episodes, self.config.stop.confirmation(num_looks)
        is_due = index % self.config.tune_every == 0 or (is_last and not self.budget.num_evaluation_episodes)
        if not num or not is_due:
            return None
        return EvaluatePlan(num_episodes=num, baselines=self.budget.baselines, held_out=False, confirm=confirm)

    def _updates(self, num: int, acted: int, taken: int) -> int:
        """Return the gradient steps of a round with `num` new steps, after `acted` steps and `taken` gradient steps.

        Rounds have complete episodes, so a few steps more than wanted: the next round makes up for it.
        """
        step = self.config.parts[0]
        per_step = step.epochs / self.budget.batch_size if step.kind == "ppo" else self.config.updates_per_step
        return round(per_step * (acted + num)) - taken

    def _streams(self) -> dict[str, StreamPlan]:
        newest = 1 if self.config.parts[0].kind == "ppo" else None
        own = {"agent": StreamPlan(source="agent", num_rounds=newest)}
        return {**own, DEMOS: StreamPlan()} if self.config._imitates else own

    def _evaluation(self, index: int) -> Round | None:
        num = self.budget.num_evaluation_episodes
        if not num:
            return None
        return Round(index=index, evaluate=EvaluatePlan(num_episodes=num, baselines=self.budget.baselines))

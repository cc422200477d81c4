"""DAgger: the learner acts, the expert labels what the learner visits, the data grow (Ross, Gordon and Bagnell, 2011).

In round i an expert acts with chance beta_i in the learner's place (algorithm 3.1: pi_i = beta_i pi* + (1 - beta_i) pi^_i). The
policy is trained on all that was labelled so far, so its cost grows linearly in the horizon where cloning's may grow with its
square (theorem 3.2). Round 0 is the expert's own demonstrations: beta_0 = 1, whatever the schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from distil.algorithms.base import AlgorithmConfig, Budget, Needs
from distil.algorithms.stop import StopConfig
from distil.config import Config
from distil.errors import InputError
from distil.experts.gates.config import GateConfig
from distil.objectives.config import ObjectiveConfig, SupervisedConfig
from distil.plans import DEMOS, CheckPlan, CollectPlan, EvaluatePlan, Round, RoundReport, Spent, StreamPlan, Unit, UpdatePlan
from distil.policies.config import ActMode
from distil.store.weighting import WeightConfig


class FirstBeta(Config):
    """The expert acts in the first round only: the choice without parameters of the paper's section 3.3."""

    kind: Literal["first"] = "first"

    def at(self, round_index: int) -> float:
        """Return beta of a round."""
        return float(round_index == 0)


class ConstantBeta(Config):
    """The same chance in all rounds after the first."""

    kind: Literal["constant"] = "constant"
    value: float = Field(ge=0, le=1)

    def at(self, round_index: int) -> float:
        """Return beta of a round."""
        return self.value if round_index else 1.0


class LinearBeta(Config):
    """From 1 in the first round down to 0, reached after `rounds` rounds."""

    kind: Literal["linear"] = "linear"
    rounds: int = Field(default=10, ge=1)

    def at(self, round_index: int) -> float:
        """Return beta of a round."""
        return max(0.0, 1.0 - round_index / self.rounds)


class ExponentialBeta(Config):
    """beta_i = decay^i (the paper's section 3.1)."""

    kind: Literal["exponential"] = "exponential"
    decay: float = Field(default=0.5, ge=0, le=1)

    def at(self, round_index: int) -> float:
        """Return beta of a round."""
        return float(self.decay**round_index)


BetaConfig = Annotated[FirstBeta | ConstantBeta | LinearBeta | ExponentialBeta, Field(discriminator="kind")]


class DaggerConfig(AlgorithmConfig):
    """`algorithm: {kind: dagger}`. Round 0 has `data.episodes` demonstrations; `learner.num_steps` is of each round."""

    kind: Literal["dagger"] = "dagger"
    objective: ObjectiveConfig = SupervisedConfig()  # what the learner minimises
    rounds: int = Field(default=20, ge=1)  # at most, round 0 included
    episodes_per_round: int = Field(default=5, ge=1)
    beta: BetaConfig = FirstBeta()
    act: ActMode = "point"  # in collection: the default actions of the policy, or samples
    beta_unit: Unit = "episode"  # who acts is drawn for a whole episode, or for each step
    gate: GateConfig | None = None  # decides who acts and who is asked, instead of beta
    overlap: int = Field(default=0, ge=0, le=8)
    """Rounds that are collected ahead, while the learner is busy: by a policy that is as many rounds older. 0: classic."""
    from_scratch: bool = False  # each update begins with new weights and statistics; otherwise with the last ones
    last_rounds: int | None = Field(default=None, ge=1)  # train on the data of the last N rounds; null: all
    weights: WeightConfig = WeightConfig()  # how much older rounds' episodes, and interventions, count in the loss
    stop: StopConfig = StopConfig()
    tuning_episodes: int = Field(default=10, ge=0)  # score each round on N episodes (`tune/*`), not the held-out ones
    check_episodes: int = Field(default=10, ge=0)  # the expert is first checked on N episodes; 0: it is trusted
    min_expert_return: float | None = None  # what it must reach there; at the least it must beat a random policy
    max_unlabelled: float = Field(default=0.05, ge=0, le=1)  # fraction of a round's steps that the expert may fail to label

    @model_validator(mode="after")
    def _consistent(self) -> DaggerConfig:
        if self.stop.normalised is not None and not self.tuning_episodes:
            raise ValueError("stop.normalised needs episodes to measure it on: set algorithm.tuning_episodes, such as 10")
        if self.gate is not None and not isinstance(self.beta, FirstBeta):
            raise ValueError("a gate decides who acts, and so does beta: take one of them out")
        if self.min_expert_return is not None and not self.check_episodes:
            raise ValueError("min_expert_return needs episodes to measure it on: set algorithm.check_episodes, such as 10")
        return self

    @property
    def num_rounds(self) -> int:
        """All of its rounds; `stop` may end the run earlier."""
        return self.rounds

    @property
    def needs(self) -> Needs:
        """It adds its rounds to the demonstrations."""
        return Needs(collects=True, gate=self.gate, act=self.act, overlap=self.overlap)

    def check(self, budget: Budget) -> None:
        """Raise ValueError for a limit on a score that the run does not measure."""
        for name, value, is_measured in (
            ("stop.normalised", self.stop.normalised, budget.baselines),
            ("min_expert_return", self.min_expert_return, budget.may_check),
        ):
            if value is not None and not is_measured:
                why = "evaluation.baselines=false" if budget.may_check else "expert.paid=true"
                raise ValueError(
                    f"algorithm.{name}={value} needs a score of the expert, which {why} leaves out: drop one of them"
                )

    def fraction(self, spent: Spent, budget: Budget) -> float:
        """Return how much of the gradient steps of all its rounds a run has taken."""
        return spent.gradient_steps / (self.rounds * budget.num_steps)

    def scored(self, num_episodes: int, looks: int, budget: Budget) -> Mapping[str, Any]:
        """Return the settings of a score in each round."""
        return {"algorithm.tuning_episodes": num_episodes}

    def granted(self, labels: int | None, steps: int | None, lengths: Sequence[int]) -> Mapping[str, Any]:
        """Return the limit of the labels, demonstrations included."""
        return {} if labels is None else {"algorithm.stop.expert_labels": labels}

    def build(self, budget: Budget) -> Dagger:
        """Return the algorithm under `budget`; InputError if there is no expert, or not one episode fits the budget."""
        if not budget.has_expert and (self.gate is None or self.gate.needs_expert):
            raise InputError("algorithm.kind=dagger: DAgger asks an expert, and none is configured: set expert.kind")
        algorithm = Dagger(config=self, budget=budget)
        algorithm.check_budget()
        return algorithm


@dataclass(frozen=True, kw_only=True)
class Dagger:
    """Rounds of demonstrate or mix, label, aggregate, update, score; at the end one evaluation on the held-out episodes."""

    config: DaggerConfig
    budget: Budget

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return the round after `last`, or None when the held-out evaluation is done."""
        index = 0 if last is None else last.index + 1
        if last is not None and last.is_final:
            return None
        if last is not None and self._is_over(last):
            return self._evaluation(index)
        config, budget = self.config, self.budget
        spent = _own(Spent() if last is None else last.spent)
        return Round(
            index=index,
            check=CheckPlan(num_episodes=config.check_episodes, min_return=config.min_expert_return)
            if config.check_episodes and index == 0 and budget.has_expert and budget.may_check
            else None,
            collect=self._collection(index, spent),
            ahead=self._ahead(index, spent),
            update=UpdatePlan(
                num_steps=budget.num_steps,
                round=index,
                from_scratch=config.from_scratch,
                streams={DEMOS: StreamPlan(num_rounds=config.last_rounds)},
                weights=config.weights,
            ),
            evaluate=EvaluatePlan(
                num_episodes=config.tuning_episodes,
                baselines=budget.baselines,
                held_out=False,
                confirm=config.stop.confirmation(0 if last is None else last.num_looks),
            )
            if config.tuning_episodes
            else None,
        )

    def check_budget(self) -> None:
        """Raise InputError if a budget can't be kept, or isn't enough for one episode."""
        stop, longest = self.config.stop, self.budget.max_episode_steps
        for name, value in (("env_steps", stop.env_steps), ("expert_labels", stop.expert_labels)):
            if value is None:
                continue
            if longest is None:
                raise InputError(
                    f"algorithm.stop.{name}={value}: an episode of this environment has no limit, so the budget can't be "
                    "kept: set env.max_episode_steps"
                )
            if value < longest:
                raise InputError(
                    f"algorithm.stop.{name}={value}: below one episode, which may take {longest} steps: raise it, or lower "
                    "env.max_episode_steps"
                )

    def _collection(self, index: int, spent: Mapping[str, int]) -> CollectPlan | None:
        config = self.config
        if index == 0:
            demonstrations = self.budget.num_demonstrations
            if demonstrations is None:  # the store as it is
                return None
            return CollectPlan(num_episodes=demonstrations, max_new=self._affordable(demonstrations, spent))
        return CollectPlan(
            num_episodes=self._affordable(config.episodes_per_round, spent),
            round=index,
            agent="policy",
            act=config.act,
            beta=config.beta.at(index),
            beta_unit=config.beta_unit,
            gate=config.gate,
            label=True,
            max_unlabelled=config.max_unlabelled,
        )

    def _ahead(self, index: int, spent: Mapping[str, int]) -> tuple[CollectPlan, ...]:
        """Return the plans of the next rounds; an episode that isn't reported yet counts with its largest number of steps."""
        if index == 0:
            return ()  # no policy is trained yet
        plans, before = [], self._collection(index, spent)
        for later in range(index + 1, min(index + self.config.overlap + 1, self.config.rounds)):
            assert before is not None
            most = before.num_episodes * (self.budget.max_episode_steps or 0)
            spent = {name: value + most for name, value in spent.items()}
            before = self._collection(later, spent)
            if before is None or not before.num_episodes:
                break
            plans.append(before)
        return tuple(plans)

    def _affordable(self, wanted: int, spent: Mapping[str, int]) -> int:
        """Return how many of the `wanted` episodes fit the budgets, even if each takes as many steps as it may."""
        stop, longest = self.config.stop, self.budget.max_episode_steps
        for name, value in (("env_steps", stop.env_steps), ("expert_labels", stop.expert_labels)):
            if value is not None and longest is not None:
                wanted = min(wanted, (value - spent[name]) // longest)
        return max(0, wanted)

    def _is_over(self, last: RoundReport) -> bool:
        return (
            last.index + 1 >= self.config.rounds
            or (self._affordable(1, _own(last.spent)) == 0 and not last.ahead)
            or self.config.stop.is_reached(last)
        )

    def _evaluation(self, index: int) -> Round | None:
        num = self.budget.num_evaluation_episodes
        if not num:
            return None
        return Round(index=index, evaluate=EvaluatePlan(num_episodes=num, baselines=self.budget.baselines))


def _own(spent: Spent) -> dict[str, int]:
    """Return what the run itself has spent: demonstrations that were stored before have cost it nothing."""
    return {
        "env_steps": spent.env_steps - spent.given_env_steps,
        "expert_labels": spent.expert_labels - spent.given_expert_labels,
    }

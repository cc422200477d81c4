"""Behavioural cloning: supervised learning of the expert's action given the observation (Pomerleau, 1989).

Its cost grows up to quadratically in the horizon, since an error leads to observations that no demonstration visited
(Ross and Bagnell, 2010, theorem 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from distil.algorithms.base import AlgorithmConfig, Budget
from distil.objectives.config import ObjectiveConfig, SupervisedConfig
from distil.plans import CollectPlan, EvaluatePlan, Round, RoundReport, Spent, UpdatePlan, WatchPlan


class BCConfig(AlgorithmConfig):
    """`algorithm: {kind: bc}`. How long to train is `learner.num_steps`, on how much `data.episodes`."""

    kind: Literal["bc"] = "bc"
    objective: ObjectiveConfig = SupervisedConfig()  # what the learner minimises
    tuning_episodes: int = Field(default=0, ge=0)  # score the policy on N episodes (`tune/*`) while it learns; 0: don't
    tune_every: int = Field(default=1000, ge=1)  # gradient steps from one such score to the next; the last step has one, too

    @model_validator(mode="after")
    def _consistent(self) -> BCConfig:
        if not self.tuning_episodes and self.tune_every != type(self).model_fields["tune_every"].default:
            raise ValueError("tune_every has no effect without episodes: set tuning_episodes, such as 10")
        return self

    @property
    def num_rounds(self) -> int:
        """There is one."""
        return 1

    def check(self, budget: Budget) -> None:
        """Raise ValueError for scores that there is no environment for."""
        if self.tuning_episodes and not budget.has_env:
            raise ValueError("algorithm.tuning_episodes needs an environment: set env.id, or tuning_episodes=0")

    def fraction(self, spent: Spent, budget: Budget) -> float:
        """Return how much of its gradient steps a run has taken."""
        return spent.gradient_steps / budget.num_steps

    def scored(self, num_episodes: int, looks: int, budget: Budget) -> Mapping[str, Any]:
        """Return the settings of scores inside its update."""
        return {"algorithm.tuning_episodes": num_episodes, "algorithm.tune_every": math.ceil(budget.num_steps / looks)}

    def granted(self, labels: int | None, steps: int | None, lengths: Sequence[int]) -> Mapping[str, Any]:
        """Return as many of the first demonstrations as the labels suffice for, one at least."""
        if labels is None:
            return {}
        return {"data.episodes": max(1, int((np.cumsum(lengths) <= labels).sum()))}

    def build(self, budget: Budget) -> BehaviouralCloning:
        """Return the algorithm under `budget`."""
        return BehaviouralCloning(config=self, budget=budget)


@dataclass(frozen=True, kw_only=True)
class BehaviouralCloning:
    """One round: collect what is missing, train, evaluate."""

    config: BCConfig
    budget: Budget

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return the only round, then None."""
        if last is not None:
            return None
        budget = self.budget
        return Round(
            index=0,
            collect=CollectPlan(num_episodes=budget.num_demonstrations) if budget.num_demonstrations else None,
            update=UpdatePlan(num_steps=budget.num_steps, watch=self._watch),
            evaluate=EvaluatePlan(num_episodes=budget.num_evaluation_episodes, baselines=budget.baselines)
            if budget.num_evaluation_episodes
            else None,
        )

    @property
    def _watch(self) -> WatchPlan | None:
        config = self.config
        if not config.tuning_episodes:
            return None
        return WatchPlan(every=config.tune_every, num_episodes=config.tuning_episodes, baselines=self.budget.baselines)

"""Behavioural cloning: supervised learning of the expert's action given the observation (Pomerleau, 1989).

Its cost grows up to quadratically in the horizon, since an error leads to observations that no demonstration visited
(Ross and Bagnell, 2010, theorem 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distil.algorithms.base import AlgorithmConfig, Budget
from distil.objectives.config import ObjectiveConfig, SupervisedConfig
from distil.plans import CollectPlan, EvaluatePlan, Round, RoundReport, UpdatePlan


class BCConfig(AlgorithmConfig):
    """`algorithm: {kind: bc}`. How long to train is `learner.num_steps`, on how much `data.episodes`."""

    kind: Literal["bc"] = "bc"
    objective: ObjectiveConfig = SupervisedConfig()  # what the learner minimises

    def build(self, budget: Budget) -> BehaviouralCloning:
        """Return the algorithm under `budget`."""
        return BehaviouralCloning(budget=budget)


@dataclass(frozen=True, kw_only=True)
class BehaviouralCloning:
    """One round: collect what is missing, train, evaluate."""

    budget: Budget

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return the only round, then None."""
        if last is not None:
            return None
        budget = self.budget
        return Round(
            index=0,
            collect=CollectPlan(num_episodes=budget.num_demonstrations) if budget.num_demonstrations else None,
            update=UpdatePlan(num_steps=budget.num_steps),
            evaluate=EvaluatePlan(num_episodes=budget.num_evaluation_episodes, baselines=budget.baselines)
            if budget.num_evaluation_episodes
            else None,
        )

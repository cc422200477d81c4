"""Tabular maximum causal entropy inverse reinforcement learning: see `distil.objectives.causal_entropy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from distil.algorithms.base import AlgorithmConfig, Budget
from distil.objectives.config import CausalEntropyConfig
from distil.objectives.tabular_config import CausalEntropySettings
from distil.plans import CollectPlan, EvaluatePlan, Round, RoundReport, Spent, UpdatePlan, WatchPlan


class MceIrlConfig(AlgorithmConfig, CausalEntropySettings):
    """`algorithm: {kind: mce_irl}`. For Discrete spaces, and environments with `P` and `initial_state_distrib`."""

    policy_defaults: ClassVar[Mapping[str, Any]] = {"encoder": {"kind": "mlp", "hidden": []}}

    kind: Literal["mce_irl"] = "mce_irl"
    tuning_episodes: int = Field(default=0, ge=0)  # score the policy on N episodes (`tune/*`)

    @property
    def objective(self) -> CausalEntropyConfig:
        """What the learner minimises."""
        return CausalEntropyConfig(**{name: getattr(self, name) for name in CausalEntropySettings.model_fields})

    @property
    def num_rounds(self) -> int:
        """There is one."""
        return 1

    def check(self, budget: Budget) -> None:
        """Raise ValueError without an environment, whose dynamics it needs to know."""
        if not budget.has_env:
            raise ValueError("algorithm.kind=mce_irl plans in the environment's dynamics: set env.id, or algorithm.kind=bc")

    def fraction(self, spent: Spent, budget: Budget) -> float:
        """Return whether the only step has been taken."""
        return float(min(1, spent.gradient_steps))

    def scored(self, num_episodes: int, looks: int, budget: Budget) -> Mapping[str, Any]:
        """Return the settings of one score, at the end."""
        return {"algorithm.tuning_episodes": num_episodes}

    def granted(self, labels: int | None, steps: int | None, lengths: Sequence[int]) -> Mapping[str, Any]:
        """Return as many of the first demonstrations as the labels suffice for, one at least."""
        if labels is None:
            return {}
        return {"data.episodes": max(1, int((np.cumsum(lengths) <= labels).sum()))}

    def build(self, budget: Budget) -> MceIrl:
        """Return the algorithm under `budget`."""
        return MceIrl(config=self, budget=budget)


@dataclass(frozen=True, kw_only=True)
class MceIrl:
    """One round: collect what is missing, fit, evaluate."""

    config: MceIrlConfig
    budget: Budget

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return the only round, then None."""
        if last is not None:
            return None
        budget, num, num_held_out = self.budget, self.config.tuning_episodes, self.budget.num_evaluation_episodes
        watch = WatchPlan(every=1, num_episodes=num, baselines=budget.baselines) if num else None
        return Round(
            index=0,
            collect=CollectPlan(num_episodes=budget.num_demonstrations) if budget.num_demonstrations else None,
            update=UpdatePlan(num_steps=1, watch=watch),
            evaluate=EvaluatePlan(num_episodes=num_held_out, baselines=budget.baselines) if num_held_out else None,
        )

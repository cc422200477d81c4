"""Rollouts: seeded episodes on a fleet of workers, collected into the store or scored."""

from distil.rollouts.agents import AgentSpec
from distil.rollouts.baselines import BaselineCache
from distil.rollouts.collector import Collector
from distil.rollouts.config import NoiseConfig, RolloutConfig
from distil.rollouts.evaluation import Baselines, EvalResult, evaluate
from distil.rollouts.fleet import Fleet
from distil.rollouts.planned import from_json, to_json
from distil.rollouts.selection import Collected, as_it_is, asked, demonstrations, given_demonstrations, select, spent, uids_of
from distil.rollouts.work import Outcome

__all__ = [
    "AgentSpec",
    "BaselineCache",
    "Baselines",
    "Collected",
    "Collector",
    "EvalResult",
    "Fleet",
    "NoiseConfig",
    "Outcome",
    "RolloutConfig",
    "as_it_is",
    "asked",
    "demonstrations",
    "evaluate",
    "from_json",
    "given_demonstrations",
    "select",
    "spent",
    "to_json",
    "uids_of",
]
